// The same as tls_server.py, by Node: `node tls_server.js FOLDER`.
const crypto = require("crypto");
const fs = require("fs");
const https = require("https");
const path = require("path");

const folder = process.argv[2];
const log = fs.openSync(path.join(folder, "node.log"), "w");
const options = {
  key: fs.readFileSync(path.join(folder, "key.pem")),
  cert: fs.readFileSync(path.join(folder, "cert.pem")),
};
const server = https.createServer(options, (request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const body = Buffer.concat(parts);
    const [mark, size] = request.url.slice(1).split("?");
    const entry = {
      port: request.socket.remotePort,
      method: request.method,
      target: request.url,
      length: body.length,
      digest: crypto.createHash("sha256").update(body).digest("hex"),
    };
    fs.writeSync(log, JSON.stringify(entry) + "\n");
    const content = Buffer.alloc(Number(size), mark);
    response.writeHead(200, { "Content-Length": content.length });
    response.end(content);
  });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
