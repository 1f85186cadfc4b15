// What the tests do to the server, by way of tests/end_to_end/test_js_client.py, and to the line in between.
import net from "node:net";
import { connect } from "scoreboard-client";

export const ORIGIN = process.env.ORIGIN;
const EVENTS = ["board", "score", "state", "error"];

/** Has one thing done; returns what came of it. */
export async function control(what, details = {}) {
  const body = JSON.stringify(details);
  const answer = await fetch(`${process.env.CONTROL}/${what}`, { method: "POST", body });
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

/** Connects for the length of a test. `told` is every event so far, as [name, value]. */
export function open(t, options, origin = ORIGIN) {
  const scoreboard = connect(origin, options);
  const told = [];
  for (const name of EVENTS) scoreboard.on(name, (value) => told.push([name, value]));
  t.after(() => scoreboard.close());
  return { scoreboard, told };
}

/** Connects as a new player, and waits until that has worked. */
export async function play(t, origin = ORIGIN) {
  const player = await control("user", {});
  const { scoreboard, told } = open(t, { token: player.token }, origin);
  await until(scoreboard, () => scoreboard.state === "live");
  return { player, scoreboard, told };
}

/** Waits until it is true, looking after every event; fails if it is not in time. */
export function until(scoreboard, enough, seconds = 60) {
  return new Promise((resolve, reject) => {
    const ends = EVENTS.map((name) => scoreboard.on(name, look));
    const late = () => finish(() => reject(new Error(`not within ${seconds} s: ${enough}`)));
    const timer = setTimeout(late, seconds * 1000);
    function finish(act) {
      clearTimeout(timer);
      ends.forEach((end) => end());
      act();
    }
    function look() {
      if (enough()) finish(resolve);
    }
    look();
  });
}

/** A line to the server that can be tampered with. */
export async function line(t) {
  const pairs = new Set();
  const line = { connections: 0, accept: () => true, answer: () => "pass" };
  const server = net.createServer((client) => {
    line.connections += 1;
    const upstream = net.connect(new URL(ORIGIN).port, "127.0.0.1");
    const pair = { client, upstream, dead: false };
    pairs.add(pair);
    const cut = () => {
      client.destroy();
      upstream.destroy();
      pairs.delete(pair);
    };
    client.on("data", (data) => {
      if (!line.accept(data)) return cut();
      if (!pair.dead) upstream.write(data);
    });
    upstream.on("data", (data) => {
      const fate = pair.dead ? "drop" : line.answer(data);
      if (fate === "cut") cut();
      if (fate === "pass") client.write(data);
    });
    for (const socket of [client, upstream]) socket.on("error", cut).on("close", cut);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  line.origin = `http://127.0.0.1:${server.address().port}`;
  line.cut = () => pairs.forEach(({ client }) => client.destroy());
  /** From now on nothing passes the connections that there are, and neither side is told. */
  line.die = () => pairs.forEach((pair) => (pair.dead = true));
  /** Cuts the connection when an update is told, which is before it is answered; resolves then. */
  line.loseNextAnswer = () =>
    new Promise((resolve) => {
      line.answer = (data) => {
        if (!data.includes("score_update")) return "pass";
        line.answer = () => "pass";
        resolve();
        return "cut";
      };
    });
  t.after(() => {
    line.cut();
    server.close();
  });
  return line;
}
