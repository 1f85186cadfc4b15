import assert from "node:assert/strict";
import http from "node:http";
import { test } from "node:test";
import { signIn } from "scoreboard-client";
import { control, open, ORIGIN, proxy, until } from "./control.js";

/** Returns a token source that returns these in order, and the arguments of its calls. */
function sourceOf(...tokens) {
  const calls = [];
  const token = async (stale) => {
    calls.push(stale);
    const next = tokens[Math.min(calls.length, tokens.length) - 1];
    if (next instanceof Error) throw next;
    return next;
  };
  return { token, calls };
}

const timesLive = (events) =>
  events.filter(([name, value]) => name === "state" && value === "live").length;

async function minted(details) {
  const player = await control("user", {});
  return { ...player, token: (await control("mint", { ...player, ...details })).token };
}

test("a token is renewed before it expires", async (t) => {
  const player = await minted({ lifetime: 4 });
  const source = sourceOf(player.token, (await control("mint", player)).token);
  const states = [];
  const token = async (stale) => {
    await undefined; // the first call comes before `scoreboard` is assigned
    states.push(scoreboard.state);
    return source.token(stale);
  };

  const { scoreboard, events } = open(t, { token });
  await until(scoreboard, () => timesLive(events) === 2);

  assert.deepEqual(states, ["connecting", "live"]);
  assert.deepEqual(source.calls, [undefined, player.token]);
  assert.deepEqual(events.filter(([name]) => name === "error"), []);
  await scoreboard.submit(player.user_id, 1);
});

test("when the server closes the connection, it requests a newer token", async (t) => {
  // By iat and exp alone the token is valid for an hour, so the server notices its expiry first.
  const player = await minted({ lifetime: 2, age: 3600 });
  const source = sourceOf(player.token, (await control("mint", player)).token);

  const { scoreboard, events } = open(t, { token: source.token });
  await until(scoreboard, () => timesLive(events) === 2);

  assert.deepEqual(source.calls, [undefined, player.token]);
  await scoreboard.submit(player.user_id, 1);
});

test("when a token is refused, it requests a newer one", async (t) => {
  const expired = await minted({ lifetime: -1 });
  const source = sourceOf(expired.token, (await control("mint", expired)).token);

  const { scoreboard } = open(t, { token: source.token });
  await until(scoreboard, () => scoreboard.state === "live");

  assert.deepEqual(source.calls, [undefined, expired.token]);
});

test("a second refused token is final, with the server's code", async (t) => {
  const network = await proxy(t);
  const { scoreboard, events } = open(t, { token: "no token at all" }, network.origin);

  await until(scoreboard, () => events.some(([name]) => name === "error"));

  assert.equal(scoreboard.state, "refused");
  assert.equal(events.find(([name]) => name === "error")[1].code, "token_invalid");
  await assert.rejects(scoreboard.submit("x", 1), { code: "token_invalid" });
  assert.equal(network.connections, 2);
});

test("a source of invalid tokens is called twice only", async (t) => {
  const source = sourceOf("one", "two", "three");

  const { scoreboard } = open(t, { token: source.token });
  await until(scoreboard, () => scoreboard.state === "refused");

  assert.deepEqual(source.calls, [undefined, "one"]);
});

test("a source that fails is called again", async (t) => {
  const { token } = await control("user", {});
  const source = sourceOf(new TypeError("fetch failed"), token);

  const { scoreboard, events } = open(t, { token: source.token });
  await until(scoreboard, () => scoreboard.state === "live");

  assert.deepEqual(source.calls, [undefined, undefined]);
  assert.equal(events.find(([name]) => name === "error")[1].cause.message, "fetch failed");
});

test("a source that times out is reported as unreachable", async (t) => {
  const { token } = await control("user", {});
  const source = sourceOf(new DOMException("late", "TimeoutError"), token);

  const { scoreboard, events } = open(t, { token: source.token });
  await until(scoreboard, () => scoreboard.state === "live");

  assert.equal(events.find(([name]) => name === "error")[1].code, "unreachable");
});

test("a source that fails with a 4xx status is final and rejects pending submits", async (t) => {
  const error = Object.assign(new Error("signed out"), { status: 401, code: "session_over" });
  const source = sourceOf(error);

  const { scoreboard, events } = open(t, { token: source.token });
  const waiting = scoreboard.submit("x", 1);

  await assert.rejects(waiting, { code: "session_over", status: 401 });
  assert.equal(scoreboard.state, "refused");
  assert.equal(source.calls.length, 1);
  assert.equal(events.filter(([name]) => name === "error").length, 1);
});

test("a read-only token cannot submit", async (t) => {
  const { user_id } = await control("user", {});
  const { scoreboard } = open(t);

  await assert.rejects(scoreboard.submit(user_id, 1), { code: "not_permitted", status: 401 });

  assert.equal(scoreboard.state, "live");
});

test("a signed-in player submits a score", async (t) => {
  const { name, password, user_id } = await control("user", {});

  const session = await signIn(ORIGIN, name, password);
  const { scoreboard } = open(t, { token: session.token });
  const receipt = await scoreboard.submit(session.userId, 12);

  assert.equal(session.userId, user_id);
  assert.equal(receipt.score, 12);
});

test("a wrong password is an error", async () => {
  const { name } = await control("user", {});

  await assert.rejects(signIn(ORIGIN, name, "wrong horse"), {
    code: "wrong_credentials",
    status: 401,
  });
});

test("a sign-in without a response is a ScoreboardError", async (t) => {
  const network = await proxy(t);
  network.accept = () => false;

  await assert.rejects(signIn(network.origin, "name", "password"), {
    name: "ScoreboardError",
    code: "unreachable",
  });
});

test("concurrent callers share one refresh, and the next caller gets another", async () => {
  const { name, password } = await control("user", {});
  const session = await signIn(ORIGIN, name, password);
  const first = await session.token();

  const seconds = await Promise.all([session.token(first), session.token(first), session.token()]);
  const third = await session.token(seconds[0]);

  assert.equal(new Set([first, ...seconds.slice(0, 2), third]).size, 3);
  assert.equal(seconds[0], seconds[1]);
});

test("signing out closes the connections of the session for good", async (t) => {
  const { name, password } = await control("user", {});
  const session = await signIn(ORIGIN, name, password);
  const { scoreboard, events } = open(t, { token: session.token });
  await until(scoreboard, () => scoreboard.state === "live");

  await session.signOut();
  await until(scoreboard, () => events.some(([event]) => event === "error"));

  assert.equal(scoreboard.state, "refused");
  assert.equal(events.find(([event]) => event === "error")[1].code, "signed_out");
  await assert.rejects(session.token(), { code: "signed_out" });
});

/**
 * Starts a server that accepts any sign-in. Each refresh gets the next of these responses: "lose"
 * (no response) or [status, body]; after them a new pair. `sent` has the refresh tokens received.
 */
async function refreshing(t, ...responses) {
  const sent = [];
  const server = http.createServer((request, response) => {
    const pair = { user_id: "x", expires_in: 900, access_token: `access-${sent.length}` };
    const next = request.url.endsWith("/refresh") ? responses.shift() : undefined;
    if (request.url.endsWith("/refresh")) sent.push(request.headers.authorization);
    if (next === "lose") return request.socket.destroy();
    const [status, body] = next ?? [200, { ...pair, refresh_token: `refresh-${sent.length}` }];
    response.writeHead(status).end(typeof body === "string" ? body : JSON.stringify(body));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const session = await signIn(`http://127.0.0.1:${server.address().port}`, "name", "password");
  return { session, first: await session.token(), sent };
}

test("a refresh without a response is sent again with the same token", async (t) => {
  const { session, first, sent } = await refreshing(t, "lose", [502, "<html>"]);

  const [second, same] = await Promise.all([session.token(first), session.token(first)]);

  assert.equal(second, "access-2");
  assert.equal(same, second);
  assert.deepEqual(sent, ["Bearer refresh-0", "Bearer refresh-0", "Bearer refresh-0"]);
});

test("a refresh that never gets a response leaves the session open", async (t) => {
  const { session, first, sent } = await refreshing(t, "lose", "lose", "lose", "lose");

  await assert.rejects(session.token(first), { code: "unreachable", status: undefined });

  assert.equal(sent.length, 4);
  assert.equal(await session.token(first), "access-4");
});

test("an error from a proxy does not end the session", async (t) => {
  const { session, first } = await refreshing(t, [401, "<html>"], [401, {}], [401, "null"]);

  assert.equal(await session.token(first), "access-3");
});

test("a refresh that the server refuses is not sent again", async (t) => {
  const error = { code: "token_reused", message: "Sign in again." };
  const { session, first, sent } = await refreshing(t, [401, { error }]);

  await assert.rejects(session.token(first), { code: "token_reused", status: 401 });

  assert.equal(sent.length, 1);
});
