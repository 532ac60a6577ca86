// Trips, booked at another service: Node's own server and fetch, random ids, lists sorted by them.
import { createHash, randomBytes, randomUUID } from "node:crypto";
import { createServer } from "node:http";

const given = Object.fromEntries(
  process.argv.slice(2).flatMap((word, at, all) => (word.startsWith("--") ? [[word.slice(2), all[at + 1]]] : [])),
);
const changes = new Set((given.change ?? "").split("+"));
const on = (name) => changes.has(name);
const upstream = process.env.UPSTREAM_URL;
const HOUR_MS = 3600_000;
const trips = new Map();

async function weather(city) {
  const days = on("query") ? 2 : 3;
  const answer = await fetch(`${upstream}/weather?days=${days}&city=${encodeURIComponent(city)}`);
  if (!answer.ok && !on("error-swallowed")) return [502, { error: "no weather" }];
  const degrees = (on("no-await") ? {} : await answer.json()).degrees ?? [];
  const sum = degrees.reduce((total, one) => total + one, 0);
  const mean = degrees.length ? sum / degrees.length : null;
  return [200, { city, degrees, mean: on("rounded") ? Math.round(mean) : mean }];
}

async function book({ city }) {
  const id = randomUUID();
  const answer = await fetch(`${upstream}/bookings`, {
    method: "POST",
    headers: { "Content-Type": "application/json", "Idempotency-Key": on("key-constant") ? "k".repeat(32) : randomUUID() },
    body: JSON.stringify({ trip: id, city }),
  });
  const { booking } = await answer.json();
  const now = Date.now();
  const trip = {
    id,
    code: randomBytes(12).toString("base64url"),
    city,
    booking: on("booking-lost") ? null : booking,
    created_at: new Date(now).toISOString(),
    expires_at_ms: now + (on("expires-late") ? 2 : 1) * HOUR_MS,
  };
  trips.set(id, trip);
  const shown = on("other-id") ? { ...trip, id: randomUUID() } : trip;
  return [201, shown, { Location: `/trips/${id}` }];
}

function list() {
  const found = [...trips.values()].map(({ id, city }) => ({ id, city }));
  found.sort((one, other) => (one.id < other.id ? -1 : 1));
  if (on("sorted-backwards")) found.reverse();
  if (on("cities-mixed")) found.forEach((trip) => (trip.city = trip.city === "porto" ? "utrecht" : "porto"));
  return [200, { trips: found }];
}

async function handle(request, content) {
  const url = new URL(request.url, "http://trips");
  const [, kind, name] = url.pathname.split("/");
  if (kind === "weather") return weather(name);
  if (kind === "trips" && request.method === "POST") return book(JSON.parse(content));
  if (kind === "trips" && !name) return list();
  const trip = trips.get(name);
  return trip ? [200, trip] : [404, { error: "no such trip" }];
}

const backwards = (value) =>
  Array.isArray(value)
    ? value.map(backwards)
    : value && typeof value === "object"
      ? Object.fromEntries(Object.entries(value).reverse().map(([name, one]) => [name, backwards(one)]))
      : value;

createServer(async (request, response) => {
  const content = [];
  for await (const part of request) content.push(part);
  const [status, value, fields = {}] = await handle(request, Buffer.concat(content).toString());
  const text = JSON.stringify(on("json-order") ? backwards(value) : value, null, on("json-spread") ? 2 : 0);
  if (status === 200) fields.ETag = `"${createHash("md5").update(text).digest("hex")}"`;
  if (on("closes")) fields.Connection = "close";
  response.writeHead(status, { "Content-Type": "application/json", ...fields });
  response.end(text);
}).listen(Number(given.port), "127.0.0.1");
