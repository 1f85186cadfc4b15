import assert from "node:assert/strict";
import http from "node:http";
import { test } from "node:test";
import { signIn } from "scoreboard-client";
import { control, line, open, ORIGIN, until } from "./control.js";

/** A source that gives one after the other, and keeps what it was called with. */
function giving(...tokens) {
  const calls = [];
  const token = async (stale) => {
    calls.push(stale);
    const next = tokens[Math.min(calls.length, tokens.length) - 1];
    if (next instanceof Error) throw next;
    return next;
  };
  return { token, calls };
}

const lives = (told) => told.filter(([name, value]) => name === "state" && value === "live").length;

async function minted(details) {
  const player = await control("user", {});
  return { ...player, token: (await control("mint", { ...player, ...details })).token };
}

test("a token is renewed before it expires", async (t) => {
  const player = await minted({ lifetime: 4 });
  const source = giving(player.token, (await control("mint", player)).token);
  const states = [];
  const token = async (stale) => {
    await undefined; // at first, until there is a scoreboard
    states.push(scoreboard.state);
    return source.token(stale);
  };

  const { scoreboard, told } = open(t, { token });
  await until(scoreboard, () => lives(told) === 2);

  assert.deepEqual(states, ["connecting", "live"]);
  assert.deepEqual(source.calls, [undefined, player.token]);
  assert.deepEqual(told.filter(([name]) => name === "error"), []);
  await scoreboard.submit(player.user_id, 1);
});

test("when the server ends the connection, a newer token is asked for", async (t) => {
  // Judged by its own times, it is good for an hour: the server is first to say that it is not.
  const player = await minted({ lifetime: 2, age: 3600 });
  const source = giving(player.token, (await control("mint", player)).token);

  const { scoreboard, told } = open(t, { token: source.token });
  await until(scoreboard, () => lives(told) === 2);

  assert.deepEqual(source.calls, [undefined, player.token]);
  await scoreboard.submit(player.user_id, 1);
});

test("when a token is refused, a newer one is asked for", async (t) => {
  const expired = await minted({ lifetime: -1 });
  const source = giving(expired.token, (await control("mint", expired)).token);

  const { scoreboard } = open(t, { token: source.token });
  await until(scoreboard, () => scoreboard.state === "live");

  assert.deepEqual(source.calls, [undefined, expired.token]);
});

test("a token that is refused again ends it, with the code of the server", async (t) => {
  const wire = await line(t);
  const { scoreboard, told } = open(t, { token: "no token at all" }, wire.origin);

  await until(scoreboard, () => told.some(([name]) => name === "error"));

  assert.equal(scoreboard.state, "refused");
  assert.equal(told.find(([name]) => name === "error")[1].code, "token_invalid");
  await assert.rejects(scoreboard.submit("x", 1), { code: "token_invalid" });
  assert.equal(wire.connections, 2);
});

test("a source of bad tokens is asked twice, and no more", async (t) => {
  const source = giving("one", "two", "three");

  const { scoreboard } = open(t, { token: source.token });
  await until(scoreboard, () => scoreboard.state === "refused");

  assert.deepEqual(source.calls, [undefined, "one"]);
});

test("a source that fails is asked again", async (t) => {
  const { token } = await control("user", {});
  const source = giving(new TypeError("fetch failed"), token);

  const { scoreboard, told } = open(t, { token: source.token });
  await until(scoreboard, () => scoreboard.state === "live");

  assert.deepEqual(source.calls, [undefined, undefined]);
  assert.equal(told.find(([name]) => name === "error")[1].cause.message, "fetch failed");
});

test("a source that is late is told by a code of ours, not a number", async (t) => {
  const { token } = await control("user", {});
  const source = giving(new DOMException("late", "TimeoutError"), token);

  const { scoreboard, told } = open(t, { token: source.token });
  await until(scoreboard, () => scoreboard.state === "live");

  assert.equal(told.find(([name]) => name === "error")[1].code, "unreachable");
});

test("a source that says 4xx ends it, and who waits to submit is told", async (t) => {
  const error = Object.assign(new Error("signed out"), { status: 401, code: "session_over" });
  const source = giving(error);

  const { scoreboard, told } = open(t, { token: source.token });
  const waiting = scoreboard.submit("x", 1);

  await assert.rejects(waiting, { code: "session_over", status: 401 });
  assert.equal(scoreboard.state, "refused");
  assert.equal(source.calls.length, 1);
  assert.equal(told.filter(([name]) => name === "error").length, 1);
});

test("a token that may only watch does not submit", async (t) => {
  const { user_id } = await control("user", {});
  const { scoreboard } = open(t);

  await assert.rejects(scoreboard.submit(user_id, 1), { code: "not_permitted", status: 401 });

  assert.equal(scoreboard.state, "live");
});

test("who has signed in submits their own score", async (t) => {
  const { name, password, user_id } = await control("user", {});

  const session = await signIn(ORIGIN, name, password);
  const { scoreboard } = open(t, { token: session.token });
  const receipt = await scoreboard.submit(session.userId, 12);

  assert.equal(session.userId, user_id);
  assert.equal(receipt.score, 12);
});

test("a wrong password is told", async () => {
  const { name } = await control("user", {});

  await assert.rejects(signIn(ORIGIN, name, "wrong horse"), {
    code: "wrong_credentials",
    status: 401,
  });
});

test("a sign-in that gets no answer is told like every other error", async (t) => {
  const wire = await line(t);
  wire.accept = () => false;

  await assert.rejects(signIn(wire.origin, "name", "password"), {
    name: "ScoreboardError",
    code: "unreachable",
  });
});

test("a session is refreshed once, however many ask for it, and again for the next", async () => {
  const { name, password } = await control("user", {});
  const session = await signIn(ORIGIN, name, password);
  const first = await session.token();

  const seconds = await Promise.all([session.token(first), session.token(first), session.token()]);
  const third = await session.token(seconds[0]);

  assert.equal(new Set([first, ...seconds.slice(0, 2), third]).size, 3);
  assert.equal(seconds[0], seconds[1]);
});

test("signing out ends the connections of the session for good", async (t) => {
  const { name, password } = await control("user", {});
  const session = await signIn(ORIGIN, name, password);
  const { scoreboard, told } = open(t, { token: session.token });
  await until(scoreboard, () => scoreboard.state === "live");

  await session.signOut();
  await until(scoreboard, () => told.some(([event]) => event === "error"));

  assert.equal(scoreboard.state, "refused");
  assert.equal(told.find(([event]) => event === "error")[1].code, "signed_out");
  await assert.rejects(session.token(), { code: "signed_out" });
});

/**
 * A server that signs everybody in, and answers each refresh as the list says: "lose", a status with a body,
 * or the new pair. `sent` has the tokens that the refreshes came with.
 */
async function refreshing(t, ...answers) {
  const sent = [];
  const server = http.createServer((request, response) => {
    const pair = { user_id: "x", expires_in: 900, access_token: `access-${sent.length}` };
    const answer = request.url.endsWith("/refresh") ? answers.shift() : undefined;
    if (request.url.endsWith("/refresh")) sent.push(request.headers.authorization);
    if (answer === "lose") return request.socket.destroy();
    const [status, body] = answer ?? [200, { ...pair, refresh_token: `refresh-${sent.length}` }];
    response.writeHead(status).end(typeof body === "string" ? body : JSON.stringify(body));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const session = await signIn(`http://127.0.0.1:${server.address().port}`, "name", "password");
  return { session, first: await session.token(), sent };
}

test("a refresh whose answer is lost is sent again with the same token", async (t) => {
  const { session, first, sent } = await refreshing(t, "lose", [502, "<html>"]);

  const [second, same] = await Promise.all([session.token(first), session.token(first)]);

  assert.equal(second, "access-2");
  assert.equal(same, second);
  assert.deepEqual(sent, ["Bearer refresh-0", "Bearer refresh-0", "Bearer refresh-0"]);
});

test("a refresh that gets no answer at all leaves the session as it was", async (t) => {
  const { session, first, sent } = await refreshing(t, "lose", "lose", "lose", "lose");

  await assert.rejects(session.token(first), { code: "unreachable", status: undefined });

  assert.equal(sent.length, 4);
  assert.equal(await session.token(first), "access-4");
});

test("a refusal that is not the server's does not end the session", async (t) => {
  const { session, first } = await refreshing(t, [401, "<html>"], [401, {}], [401, "null"]);

  assert.equal(await session.token(first), "access-3");
});

test("what the server refuses is not sent again", async (t) => {
  const error = { code: "token_reused", message: "Sign in again." };
  const { session, first, sent } = await refreshing(t, [401, { error }]);

  await assert.rejects(session.token(first), { code: "token_reused", status: 401 });

  assert.equal(sent.length, 1);
});
