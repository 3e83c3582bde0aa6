// @ts-check
// Loaded before an app: the network of a test, in which GitHub's hosts are its stand-in. The app itself is unchanged.
"use strict";
const http = require("node:http");
const https = require("node:https");

const standIn = process.env.GITHUB_STAND_IN;
const HOSTS = ["github.com", "api.github.com"];

/** @param {string | URL} address */
function here(address) {
  const url = new URL(address);
  return HOSTS.includes(url.hostname) ? new URL(url.pathname + url.search, standIn) : undefined;
}

const { request } = https;
https.request = (/** @type {any[]} */ ...parameters) => {
  const [address, options, answered] = parameters;
  const moved = typeof address === "string" || address instanceof URL ? here(address) : undefined;
  return moved ? http.request(moved, options, answered) : Reflect.apply(request, https, parameters);
};

const { fetch } = globalThis;
/** @param {RequestInfo | URL} input @param {RequestInit} [init] */
globalThis.fetch = (input, init) => {
  const moved = here(input instanceof Request ? input.url : input);
  if (!moved) return fetch(input, init);
  return fetch(input instanceof Request ? new Request(moved, input) : moved, init);
};
