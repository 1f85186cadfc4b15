/** The scoreboard's contract on Express 5 and socket.io; every read goes to the database. */
import { createServer } from "node:http";

import express from "express";
import jwt from "jsonwebtoken";
import { Server } from "socket.io";
import { z } from "zod";

import { openStore, UNKNOWN_USER } from "./store.js";

const { DATABASE_URL, JWT_SECRET_KEY, PORT } = process.env;
const ROOM = "scoreboard";
const MAX_SKEW = 5 * 60_000; // ms that a timestamp may be in the future
const ANYONE = new Set(["scorer", "admin"]);

const Update = z.object({
  user_id: z.uuid(),
  score_value: z.number().min(Number.MIN_SAFE_INTEGER).max(Number.MAX_SAFE_INTEGER),
  timestamp: z.iso.datetime({ offset: true, local: true }),
  nonce: z.string().regex(/^[\w-]{8,64}$/).optional(),
});

const store = await openStore(DATABASE_URL);
const app = express().disable("x-powered-by").use(express.json({ limit: "64kb" }));
const server = createServer(app);
const io = new Server(server, { path: "/ws/scoreboard", cors: { origin: "*" } });
let shownTop10 = "";

/** Return the claims of a valid token, else null. */
function authenticate(token) {
  try {
    return jwt.verify(token, JWT_SECRET_KEY, { algorithms: ["HS256"] });
  } catch {
    return null;
  }
}

const refuse = (status, code, message, fields) => [status, { error: { code, message, fields } }];

/** Process one update of this caller; return the status and the body of the response. */
async function submit(input, caller) {
  const parsed = Update.safeParse(input);
  if (!parsed.success) {
    const { fieldErrors } = z.flattenError(parsed.error);
    return refuse(400, "invalid", "Some fields are missing or malformed.", fieldErrors);
  }
  const { user_id: userId, score_value: score, timestamp, nonce } = parsed.data;
  const hasOffset = /(Z|[+-]\d\d:\d\d)$/.test(timestamp);
  const reached = Date.parse(hasOffset ? timestamp : `${timestamp}Z`);
  if (reached > Date.now() + MAX_SKEW) {
    return refuse(400, "timestamp_in_future", "The timestamp is in the future.");
  }
  if (!caller) return refuse(401, "not_authenticated", "Send a valid access token.");
  if (!ANYONE.has(caller.role) && !(caller.role === "player" && caller.sub === userId)) {
    return refuse(401, "not_permitted", "This token may not update that user's score.");
  }
  let receipt;
  try {
    receipt = await store.record({
      userId,
      score,
      submitter: caller.sub,
      identity: nonce ?? `${timestamp}=${score}`,
      achievedAt: new Date(Math.min(reached, Date.now())).toISOString(),
    });
  } catch (error) {
    if (!UNKNOWN_USER.includes(error.code)) throw error;
    return refuse(400, "unknown_user", "There is no such user.");
  }
  console.log(JSON.stringify({ caller: caller.sub, user_id: userId, score, new: !!receipt }));
  if (!receipt) return refuse(400, "replayed", "This update was accepted before.");
  await publish(userId, receipt.score);
  return [200, receipt];
}

/** Send the new score to all viewers, then the top 10 if it has changed. */
async function publish(userId, score) {
  const top10 = await store.top10();
  send(io.to(ROOM), "score_update", { user_id: userId, new_score: score });
  const text = JSON.stringify(top10);
  if (text !== shownTop10) {
    shownTop10 = text;
    send(io.to(ROOM), "top_10_update", { top_10_scores: top10 });
  }
}

function failed(error) {
  console.error(error);
  return refuse(500, "internal", "The server failed.");
}

const send = (target, type, data) => target.emit(type, { type, data });

app.post("/api/score/update", async (request, response) => {
  const [scheme, token] = (request.get("authorization") ?? "").split(" ");
  const caller = scheme === "Bearer" ? authenticate(token) : null;
  const [status, body] = await submit(request.body, caller);
  response.status(status).json(body);
});

// Express adds the ETag and responds 304 to a matching If-None-Match.
app.get("/api/score/top10", async (_request, response) => {
  response.json({ top_10_scores: await store.top10() });
});

app.use((error, _request, response, _next) => {
  const [status, body] =
    error.status < 500 ? refuse(400, "invalid", "The body must be JSON.") : failed(error);
  response.status(status).json(body);
});

io.use((socket, next) => {
  socket.data.caller = authenticate(socket.handshake.auth.token);
  next(socket.data.caller ? undefined : new Error("not_authenticated"));
});

io.on("connection", async (socket) => {
  socket.on("update_score", async (input, acknowledge) => {
    const [status, body] = await submit(input, socket.data.caller).catch(failed);
    acknowledge?.({ status, body });
  });
  socket.join(ROOM);
  send(socket, "top_10_update", { top_10_scores: await store.top10() });
});

server.listen(Number(PORT), "127.0.0.1");
