// A server on Node's http module, over IPv4 and IPv6, until it is ended: node live_server.js PORT
"use strict";
const http = require("node:http");

const server = http.createServer((request, response) => {
  const path = request.url.split("?")[0];
  if (path === "/cookies") {
    response.setHeader("Set-Cookie", ["a=1; Path=/", "b=2; HttpOnly", "c="]);
    response.end(JSON.stringify({ cookies: 3, asked: request.url }));
  } else if (path === "/trailers") {
    response.writeHead(200, { Trailer: "X-Sum", "Content-Type": "text/plain" });
    response.write("first ");
    response.write("y".repeat(30000));
    response.addTrailers({ "X-Sum": "30006" });
    response.end();
  } else if (path === "/hints") {
    response.writeEarlyHints({ link: "</style.css>; rel=preload" }, () => response.end("hinted"));
  } else if (path === "/cut") {
    response.writeHead(200, { "Content-Length": "1000" });
    response.write("not all of it");
    setTimeout(() => response.destroy(), 20);
  } else {
    request.on("data", (part) => response.write(part));
    request.on("end", () => response.end());
  }
});
server.listen(Number(process.argv[2]), "::", () => console.log("ready"));
