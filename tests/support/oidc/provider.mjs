// A sign-in provider of foreign make, for tests. Argument: a JSON file with address, clients, and whether acr is ignored.
// It listens on loopback, prints "ready", and takes levers under /levers that a real provider keeps for its administrators.
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { generateKeyPairSync } from "node:crypto";
import { pathToFileURL } from "node:url";

const [modules, file] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(`${modules}/oidc-provider/lib/index.js`).href);
const setup = JSON.parse(readFileSync(file, "utf8"));

const makeKey = (kid) => ({ ...generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" }), kid, use: "sig", alg: "RS256" });
const realNow = Date.now;
const accounts = setup.accounts;
const mfa = setup.mfa ?? [];

const make = (keys) => {
  const provider = new Provider(setup.issuer, {
    clients: setup.clients,
    jwks: { keys },
    claims: { openid: ["sub", "sid"], email: ["email", "email_verified"], profile: ["name", "groups"], acr: null, amr: null, auth_time: null },
    conformIdTokenClaims: false,
    acrValues: ["urn:two-factors"],
    features: {
      devInteractions: { enabled: true },
      claimsParameter: { enabled: true },
      backchannelLogout: { enabled: true },
      rpInitiatedLogout: { enabled: true },
    },
    pkce: { required: () => true },
    // The provider calls no loopback address by itself; the notice of a sign-out has to go to one here.
    fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
    cookies: { keys: ["only a test's key"] },
    ttl: { AuthorizationCode: 60, AccessToken: 600, IdToken: 600, Session: 3600, Interaction: 600, Grant: 3600 },
    findAccount: async (ctx, id) => ({
      accountId: id,
      claims: async () => ({ sub: id, ...(accounts[id] ?? { email: id, email_verified: true }) }),
    }),
  });
  // Its own sign-in page asks no second factor; some people are taken to have shown one.
  const { loginAccount } = provider.Session.prototype;
  provider.Session.prototype.loginAccount = function login(details) {
    return loginAccount.call(this, mfa.includes(details.accountId) ? { ...details, amr: ["pwd", "mfa"] } : details);
  };
  provider.on("server_error", (ctx, error) => console.error(error));
  return provider.callback();
};

// What it has given out lives outside of it, so one that is made anew still knows it.
let keys = [makeKey("first")];
let answer = make(keys);
const levers = {
  rotate: () => {
    keys = [makeKey(`key-${Date.now()}`)];
    answer = make(keys);
  },
  redirect: (to) => {
    setup.clients[0].redirect_uris.push(to);
    answer = make(keys);
  },
  clock: (seconds) => {
    Date.now = () => realNow() + Number(seconds) * 1000;
  },
};
createServer((request, response) => {
  const asked = new URL(request.url, setup.issuer);
  const lever = asked.pathname.match(/^\/levers\/(\w+)$/);
  if (lever) {
    levers[lever[1]](asked.searchParams.get("to"));
    response.end("done");
  } else answer(request, response);
}).listen(new URL(setup.issuer).port, "127.0.0.1", () => console.log("ready"));
