// Required before a server that listens on all addresses, this makes it listen on $HOST alone: as if it were in a pod.
"use strict";

const { Server } = require("node:net");

const { listen } = Server.prototype;

Server.prototype.listen = function listenInPod(port, ...rest) {
  return listen.call(this, port, process.env.HOST, ...rest);
};
