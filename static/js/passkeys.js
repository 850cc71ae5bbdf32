// Passkeys: a button asks the server for a question, lets the browser answer it, and sends the answer with the form it stands in.
// Without this script, or without a browser that knows passkeys, the buttons stay hidden and the other factors remain.
(() => {
  if (!window.PublicKeyCredential || !navigator.credentials) return;
  const bytes = text => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), c => c.charCodeAt(0));
  const text = buffer => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const keys = list => (list || []).map(key => ({ ...key, id: bytes(key.id) }));

  function question(options) {
    const made = { ...options, challenge: bytes(options.challenge) };
    if (options.user) made.user = { ...options.user, id: bytes(options.user.id) };
    if (options.allowCredentials) made.allowCredentials = keys(options.allowCredentials);
    if (options.excludeCredentials) made.excludeCredentials = keys(options.excludeCredentials);
    return made;
  }
  function answer(key) {
    const response = {};
    for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"])
      if (key.response[name]) response[name] = text(key.response[name]);
    if (key.response.getTransports) response.transports = key.response.getTransports();
    return JSON.stringify({ id: key.id, rawId: text(key.rawId), type: key.type, response, clientExtensionResults: {} });
  }
  async function run(button) {
    const form = button.form, body = new URLSearchParams({ csrf_token: form.elements.csrf_token.value });
    const asked = await fetch(button.dataset.ask, { method: "POST", body, headers: { Accept: "application/json" } });
    if (!asked.ok) throw new Error("refused");
    const publicKey = question(await asked.json());
    const key = await (button.dataset.passkey === "new" ? navigator.credentials.create({ publicKey }) : navigator.credentials.get({ publicKey }));
    const field = form.elements[button.dataset.into];
    field.type = "hidden"; field.value = answer(key);
    form.noValidate = true; form.requestSubmit();
  }
  function say(button, words) {
    const place = button.form.querySelector("[data-passkey-said]");
    if (place) place.textContent = words;
  }
  document.addEventListener("click", e => {
    const button = e.target.closest("[data-passkey]"); if (!button) return;
    say(button, ""); button.disabled = true;
    run(button).catch(() => say(button, "The passkey did not answer. Try again, or use another factor.")).finally(() => { button.disabled = false });
  });
  const show = () => document.querySelectorAll("[data-passkey][hidden],[data-passkey-only][hidden]").forEach(b => { b.hidden = false });
  document.addEventListener("htmx:after:swap", show);
  show();
})();
