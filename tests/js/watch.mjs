// Connects like a website and prints each event as a line of JSON: [name, value].
// usage: node watch.mjs URL TOKEN|- TRANSPORT[,TRANSPORT] UPDATE BOARDS BOARD
// The last three are JSON, and null or empty if there are none. Names the BOARDS at the handshake.
// Once connected, submits the UPDATE and subscribes to the BOARD, and prints the acknowledgements.
import { io } from "socket.io-client";

const [url, token, transports, ...rest] = process.argv.slice(2);
const [update, boards, board] = rest.map((text) => JSON.parse(text));
const print = (event, value) => process.stdout.write(JSON.stringify([event, value]) + "\n");

const options = { path: "/ws/scoreboard", reconnection: false, transports: transports.split(",") };
if (token !== "-") options.auth = boards ? { token, boards } : { token };
const socket = io(url, options);

socket.io.on("open", () => {
  print("open", socket.io.engine.transport.name);
  socket.io.engine.on("upgrade", (transport) => print("upgrade", transport.name));
});
socket.on("connect", () => {
  if (update) socket.emit("update_score", update, (response) => print("ack", response));
  if (board) socket.emit("subscribe", { board }, (response) => print("ack", response));
});
socket.on("connect_error", (error) => {
  print("connect_error", error.data ?? error.message);
  process.exit(0);
});
socket.on("disconnect", (reason) => {
  print("disconnect", reason);
  process.exit(0);
});
socket.onAny((event, ...args) => print(event, args.length === 1 ? args[0] : args));
