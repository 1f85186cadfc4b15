// Connects like a website and prints each event as a line of JSON: [name, value].
// usage: node watch.mjs URL TOKEN|- TRANSPORT[,TRANSPORT] [UPDATE]
// Submits the UPDATE (JSON) once connected, and prints its acknowledgement.
import { io } from "socket.io-client";

const [url, token, transports, update] = process.argv.slice(2);
const print = (event, value) => process.stdout.write(JSON.stringify([event, value]) + "\n");

const options = { path: "/ws/scoreboard", reconnection: false, transports: transports.split(",") };
if (token !== "-") options.auth = { token };
const socket = io(url, options);

socket.io.on("open", () => {
  print("open", socket.io.engine.transport.name);
  socket.io.engine.on("upgrade", (transport) => print("upgrade", transport.name));
});
socket.on("connect", () => {
  if (update) socket.emit("update_score", JSON.parse(update), (response) => print("ack", response));
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
