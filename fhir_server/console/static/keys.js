// Asks a security key or passkey, and sends its answer with the form of the page.
// https://www.w3.org/TR/webauthn-2/
"use strict";

const fromText = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const toText = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const described = (list) => (list || []).map((one) => ({ ...one, id: fromText(one.id) }));

function asked(options) {
  const given = { ...options, challenge: fromText(options.challenge) };
  if (options.user) given.user = { ...options.user, id: fromText(options.user.id) };
  if (options.excludeCredentials) given.excludeCredentials = described(options.excludeCredentials);
  if (options.allowCredentials) given.allowCredentials = described(options.allowCredentials);
  return { publicKey: given };
}

function answer(made) {
  const response = { clientDataJSON: toText(made.response.clientDataJSON) };
  for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"])
    if (made.response[name]) response[name] = toText(made.response[name]);
  return { id: made.id, rawId: toText(made.rawId), type: made.type, response, clientExtensionResults: {} };
}

const form = document.getElementById("key");
const told = form.querySelector(".problem");

form.querySelector("button").addEventListener("click", async () => {
  told.hidden = true;
  try {
    const made = await navigator.credentials[form.dataset.kind](asked(JSON.parse(form.dataset.options)));
    form.elements.answer.value = JSON.stringify(answer(made));
    form.submit();
  } catch (problem) {
    told.textContent = "The key did not answer, or belongs to another account.";
    told.hidden = false;
  }
});
