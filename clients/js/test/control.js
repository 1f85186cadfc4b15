// Helpers that control the server, through tests/end_to_end/test_js_client.py, and the network.
import net from "node:net";
import { connect } from "scoreboard-client";

export const ORIGIN = process.env.ORIGIN;
const EVENTS = ["board", "score", "settings", "state", "error"];

/** Runs a command of the control server and returns its result. */
export async function control(command, details = {}) {
  const body = JSON.stringify(details);
  const response = await fetch(`${process.env.CONTROL}/${command}`, { method: "POST", body });
  if (!response.ok) throw new Error(await response.text());
  return response.json();
}

/** Connects until the end of the test. `events` has every event so far, as [name, value]. */
export function open(t, options, origin = ORIGIN) {
  const scoreboard = connect(origin, options);
  const events = [];
  for (const name of EVENTS) scoreboard.on(name, (value) => events.push([name, value]));
  t.after(() => scoreboard.close());
  return { scoreboard, events };
}

/** Connects as a new player and waits for the connection. */
export async function play(t, origin = ORIGIN) {
  const player = await control("user", {});
  const { scoreboard, events } = open(t, { token: player.token }, origin);
  await until(scoreboard, () => scoreboard.state === "live");
  return { player, scoreboard, events };
}

/** Waits until the condition holds, checked after every event; rejects after a timeout. */
export function until(scoreboard, condition, seconds = 60) {
  return new Promise((resolve, reject) => {
    const subscriptions = EVENTS.map((name) => scoreboard.on(name, check));
    const fail = () => finish(() => reject(new Error(`not within ${seconds} s: ${condition}`)));
    const timer = setTimeout(fail, seconds * 1000);
    function finish(settle) {
      clearTimeout(timer);
      subscriptions.forEach((unsubscribe) => unsubscribe());
      settle();
    }
    function check() {
      if (condition()) finish(resolve);
    }
    check();
  });
}

/** Starts a TCP proxy in front of the server that can drop data and connections. */
export async function proxy(t) {
  const pairs = new Set();
  const proxy = { connections: 0, accept: () => true, respond: () => "pass" };
  const server = net.createServer((client) => {
    proxy.connections += 1;
    const upstream = net.connect(new URL(ORIGIN).port, "127.0.0.1");
    const pair = { client, upstream, dead: false };
    pairs.add(pair);
    const cut = () => {
      client.destroy();
      upstream.destroy();
      pairs.delete(pair);
    };
    client.on("data", (data) => {
      if (!proxy.accept(data)) return cut();
      if (!pair.dead) upstream.write(data);
    });
    upstream.on("data", (data) => {
      const action = pair.dead ? "drop" : proxy.respond(data);
      if (action === "cut") cut();
      if (action === "pass") client.write(data);
    });
    for (const socket of [client, upstream]) socket.on("error", cut).on("close", cut);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  proxy.origin = `http://127.0.0.1:${server.address().port}`;
  proxy.cut = () => pairs.forEach(({ client }) => client.destroy());
  /** Silently drops all further data of the open connections. */
  proxy.die = () => pairs.forEach((pair) => (pair.dead = true));
  /** Cuts the connection at the next score_update, which the server sends before its response. */
  proxy.loseNextResponse = () =>
    new Promise((resolve) => {
      proxy.respond = (data) => {
        if (!data.includes("score_update")) return "pass";
        proxy.respond = () => "pass";
        resolve();
        return "cut";
      };
    });
  t.after(() => {
    proxy.cut();
    server.close();
  });
  return proxy;
}
