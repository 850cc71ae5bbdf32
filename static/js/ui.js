// Countinghouse UI behaviours. No dependency, no eval, no inline handlers, no style attributes, nothing kept in the browser.
// Everything is event delegation on document, so content swapped in by htmx needs no set-up of its own.
(() => {
  const $ = (s, r = document) => r.querySelector(s), $$ = (s, r = document) => [...r.querySelectorAll(s)];
  const on = (event, run, options) => document.addEventListener(event, run, options);
  const typing = e => e.target.closest?.("input:not([type=checkbox]):not([type=radio]),textarea,select,[contenteditable]");

  // --- theme: applied at once, kept by the server ------------------------------------------------
  on("submit", e => {
    const form = e.target.closest("[data-theme-form]"); if (!form || !e.submitter) return;
    e.preventDefault();
    const theme = e.submitter.value, root = document.documentElement;
    if (theme === "auto") delete root.dataset.theme; else root.dataset.theme = theme;
    $$("[name=theme]", form).forEach(b => b.setAttribute("aria-pressed", String(b === e.submitter)));
    const body = new URLSearchParams(new FormData(form)); body.set("theme", theme);
    fetch(form.action, { method: "POST", body, headers: { Accept: "text/html" } }).then(r => { if (!r.ok) toast("The theme was not saved", "") }, () => toast("The theme was not saved", ""));
  });

  // --- dialogs: native <dialog> gives the focus trap, Esc and the inert page ----------------------
  function show(d) {
    d.showModal();
    const first = $("[data-focus]", d) || $("[autofocus]", d) || $("[aria-invalid=true]", d) || $(".dlg-b input:not([type=hidden]),.dlg-b select,.dlg-b textarea", d) || $(".dlg-f .btn", d);
    first?.focus(); if (d.id === "palette") { if (first.value) { first.value = ""; first.dispatchEvent(new Event("input", { bubbles: true })) } choose(d, 0) }
  }
  on("click", e => {
    const o = e.target.closest("[data-open]"); if (o) { const d = $("#" + o.dataset.open); if (d) show(d); return }
    const c = e.target.closest("[data-close]"); if (c) { c.closest("dialog")?.close(); return }
    if (e.target.matches?.("dialog[open][data-light]")) e.target.close();
  });
  // a dialog swapped into #modal opens itself; closing it empties #modal, and so does arriving on another page
  on("htmx:after:swap", () => {
    $$("#modal dialog:not([open])").forEach(show);
    $("#main [data-focus]")?.focus();
  });
  on("close", e => { if (e.target.closest?.("#modal")) e.target.remove() }, true);
  on("htmx:after:history:push", () => {
    $("#modal")?.replaceChildren(); mark();
    if (!$("#main [data-focus],#main [autofocus]")) $("#main")?.focus({ preventScroll: true });
  });
  on("htmx:before:history:restore", () => { $$("dialog[open]").forEach(d => d.close()) });
  on("htmx:after:swap", () => mark());
  // boost swaps #main only, so the sidebar's mark follows the address
  function mark() {
    const path = location.pathname; let best = null;
    $$(".side-nav a").forEach(a => {
      a.removeAttribute("aria-current"); const to = a.getAttribute("href");
      if ((path === to || (to !== "/" && path.startsWith(to + "/"))) && to.length > (best?.getAttribute("href").length ?? 0)) best = a;
    });
    best?.setAttribute("aria-current", "page");
    const side = $("#side"); if (side?.matches(":popover-open")) side.hidePopover();
  }
  // questions before a post: our own dialog instead of the browser's
  on("htmx:confirm", e => {
    const d = $("#confirm"), question = e.detail.ctx?.confirm; if (!d || !question) return;
    e.preventDefault(); $("h2", d).textContent = question; d.returnValue = "no"; d.showModal();
    d.addEventListener("close", () => d.returnValue === "yes" ? e.detail.issueRequest() : e.detail.dropRequest(), { once: true });
  });

  // --- toasts: HX-Trigger {"toast":{"title":"…"}}; a failed request never replaces what is on the page ----
  on("toast", e => toast(e.detail.title, e.detail.text));
  on("htmx:response:error", e => { if (e.detail.ctx?.response?.status >= 500) toast("That did not work", "Nothing was changed. Try again in a moment.") });
  on("htmx:error", e => { if (e.detail.ctx && !e.detail.ctx.response) toast("No connection", "The server could not be reached. Nothing was changed.") });
  function toast(title, text) {
    const host = $(".toasts"); if (!host) return;
    const d = document.createElement("div"), w = document.createElement("div"), h = document.createElement("b"), p = document.createElement("p");
    d.className = "toast"; h.textContent = title; p.textContent = text || ""; w.append(h, p); d.append(w); host.append(d); setTimeout(() => d.remove(), 6000);
  }
  $$("[data-toast]").forEach(d => setTimeout(() => d.remove(), 6000));

  // --- copy, reveal ---------------------------------------------------------------------------
  on("click", async e => {
    const r = e.target.closest("[data-reveal]");
    if (r) { const i = $("#" + r.dataset.reveal), shown = i.type === "text"; i.type = shown ? "password" : "text"; r.setAttribute("aria-pressed", String(!shown)); return }
    const b = e.target.closest("[data-copy]"); if (!b) return;
    try { await navigator.clipboard.writeText(b.dataset.copy); toast("Copied", b.dataset.copy) } catch { toast("The browser did not allow copying", "") }
  });

  // --- tables: select all, shift-range, count, J K X ↵ ------------------------------------------
  let last = null;
  const count = form => {
    const rows = $$("tbody .chk", form), all = $("thead .chk", form), n = rows.filter(r => r.checked).length;
    if (all) { all.checked = n > 0 && n === rows.length; all.indeterminate = n > 0 && n < rows.length }
    const out = $("output b", form); if (out) out.textContent = n;
    $$("[data-n]", form).forEach(c => c.textContent = n);
  };
  on("change", e => {
    const form = e.target.closest(".bulkform"); if (!form || !e.target.matches(".chk")) return;
    if (e.target === $("thead .chk", form)) $$("tbody .chk", form).forEach(r => r.checked = e.target.checked);
    count(form);
  });
  on("click", e => {
    const c = e.target.closest("tbody .chk");
    if (c && e.shiftKey && last) {
      const r = $$("tbody .chk", c.closest("table")), a = r.indexOf(last), b = r.indexOf(c);
      r.slice(Math.min(a, b), Math.max(a, b) + 1).forEach(x => x.checked = c.checked); c.dispatchEvent(new Event("change", { bubbles: true }));
    }
    if (c) last = c;
    const x = e.target.closest("[data-clear]"); if (x) { const f = x.closest(".bulkform"); $$(".chk", f).forEach(k => { k.checked = k.indeterminate = false }); count(f) }
  });
  function move(step) {
    const rows = $$("[data-keys] tbody tr:not(.daygrp)"); if (!rows.length) return;
    const i = rows.findIndex(x => x.classList.contains("kfocus")), next = rows[Math.max(0, Math.min(rows.length - 1, i + step))];
    rows[i]?.classList.remove("kfocus"); next.classList.add("kfocus"); next.scrollIntoView({ block: "nearest" }); $(".rl", next)?.focus({ preventScroll: true });
  }

  // --- keyboard: ⌘K palette, / search, ? help, G x go, J K X --------------------------------------
  let g = 0, off = false;
  on("change", e => { if (e.target.matches("[data-keys-off]")) off = e.target.checked });
  on("keydown", e => {
    if ((e.metaKey || e.ctrlKey) && e.key.toLowerCase() === "k") { const p = $("#palette"); if (p) { e.preventDefault(); p.open ? p.close() : show(p) } return }
    if (off || typing(e) || e.metaKey || e.ctrlKey || e.altKey || $("dialog[open]")) return;
    const k = e.key.toLowerCase(), to = g && Date.now() - g < 900 && $(`[data-go="${CSS.escape(k)}"]`);
    g = 0;
    if (to) { e.preventDefault(); to.click() }
    else if (k === "g") g = Date.now();
    else if (k === "/") { const s = $("[data-search]"); if (s) { e.preventDefault(); s.focus(); s.select?.() } }
    else if (k === "?") { const d = $("#shortcuts"); if (d) show(d) }
    else if (k === "j") move(1); else if (k === "k") move(-1);
    else if (k === "x") { const c = $(".kfocus .chk"); if (c) { c.checked = !c.checked; c.dispatchEvent(new Event("change", { bubbles: true })) } }
  });

  // what was typed before htmx listened is looked for as well
  on("htmx:after:process", e => {
    if (e.target === document.body) $$("[data-search]").filter(s => s.value !== s.defaultValue).forEach(s => s.dispatchEvent(new Event("input", { bubbles: true })));
  });

  // --- palette: what is on the page is filtered here, what is on the server comes by htmx --------------
  const options = p => $$(".pal-o:not([hidden])", p);
  on("input", e => {
    const p = e.target.closest("#palette"); if (!p) return; const q = e.target.value.trim().toLowerCase();
    $$("#pal-l > .pal-o", p).forEach(o => o.hidden = q && !o.textContent.toLowerCase().includes(q));
    $$("#pal-l > .pal-g", p).forEach(h => { let n = h.nextElementSibling, any = false; while (n && !n.matches(".pal-g")) { any ||= !n.hidden; n = n.nextElementSibling } h.hidden = !any });
    if (!q) $("#pal-found", p)?.replaceChildren();
    choose(p, 0);
  });
  on("htmx:after:swap", () => { const p = $("#palette[open]"); if (p) choose(p, 0) });
  function choose(p, i) {
    const o = options(p), input = $("input", p); $$("[aria-selected=true]", p).forEach(x => x.setAttribute("aria-selected", "false"));
    if (!o.length) { input.removeAttribute("aria-activedescendant"); return }
    const one = o[(i + o.length) % o.length]; one.setAttribute("aria-selected", "true"); one.scrollIntoView({ block: "nearest" });
    if (one.id) input.setAttribute("aria-activedescendant", one.id);
  }
  const follow = (p, o) => { const to = o?.dataset.href; if (!to) return; p.close(); const a = $(`.side-nav a[href="${CSS.escape(to)}"]`); a ? a.click() : location.assign(to) };
  on("click", e => { const o = e.target.closest("#palette .pal-o"); if (o) follow($("#palette"), o) });
  on("keydown", e => {
    const p = e.target.closest?.("#palette"); if (!p) return; const o = options(p), i = o.findIndex(x => x.getAttribute("aria-selected") === "true");
    if (e.key === "ArrowDown") { e.preventDefault(); choose(p, i + 1) } else if (e.key === "ArrowUp") { e.preventDefault(); choose(p, i - 1) }
    else if (e.key === "Enter") { e.preventDefault(); follow(p, o[i]) }
  });

  // --- charts: a crosshair over the server's SVG; the arrow keys read each value aloud -------------------
  function tip(p, i, aloud) {
    const labels = JSON.parse(p.dataset.labels), now = JSON.parse(p.dataset.a), before = p.dataset.b ? JSON.parse(p.dataset.b) : null, n = now.length;
    i = Math.max(0, Math.min(n - 1, i)); const f = n > 1 ? i / (n - 1) : .5, t = $(".c-tip", p), c = $(".c-cross", p);
    c.style.insetInlineStart = f * 100 + "%"; t.style.insetInlineStart = f * 100 + "%"; t.style.translate = f > .6 ? "calc(-100% - 10px) 0" : "10px 0";
    const h = document.createElement("b"), s = document.createElement("span"); h.textContent = now[i]; s.className = "t3"; s.textContent = labels[i]; t.replaceChildren(s, h);
    if (before) { const q = document.createElement("span"); q.className = "t3"; q.textContent = "before " + before[i]; t.append(q) }
    p.dataset.i = i; if (aloud) { const r = $("[data-reading]", p); if (r) r.textContent = `${labels[i]}: ${now[i]}` }
  }
  on("pointermove", e => { const p = e.target.closest?.("[data-a]"); if (!p) return; const r = p.getBoundingClientRect(); tip(p, Math.round((e.clientX - r.left) / r.width * (JSON.parse(p.dataset.a).length - 1))) });
  on("keydown", e => {
    const p = e.target.closest?.("[data-a]"); if (!p || !/^Arrow(Left|Right)$/.test(e.key)) return; e.preventDefault();
    p.classList.add("on"); tip(p, +(p.dataset.i ?? JSON.parse(p.dataset.a).length) + (e.key === "ArrowRight" ? 1 : -1), true);
  });
  on("focusout", e => e.target.closest?.("[data-a]")?.classList.remove("on"));

  // --- a large file: dropped or chosen, told how much was sent; without scripts the same form posts it -----
  const megabytes = n => (n / 1048576).toFixed(1);
  function said(form, text) {
    const field = $("[data-upload]", form), id = field.id + "-e"; let p = $("#" + CSS.escape(id));
    if (!p && text) { p = document.createElement("p"); p.className = "err"; p.id = id; p.setAttribute("role", "alert"); field.after(p) }
    if (p) p.textContent = text; field.setAttribute("aria-invalid", String(!!text)); field.setAttribute("aria-describedby", id);
    const b = $("[type=submit]", form); if (b) b.disabled = false;
  }
  const large = field => field.files[0]?.size > +field.dataset.upload;
  on("change", e => {
    const field = e.target.closest("[data-upload]"); if (!field) return;
    said(field.form, large(field) ? `This file has ${megabytes(field.files[0].size)} MB; at most ${megabytes(+field.dataset.upload)} are taken.` : "");
  });
  for (const [event, over] of [["dragover", true], ["dragleave", false], ["drop", false]])
    on(event, e => e.target.closest?.("[data-upload]")?.classList.toggle("drop--over", over));
  on("submit", e => {
    const form = e.target, field = $("[data-upload]", form), box = $("[data-sending]", form); if (!field || !box || !field.files.length) return;
    e.preventDefault(); e.stopImmediatePropagation();
    if (large(field)) { field.dispatchEvent(new Event("change", { bubbles: true })); field.focus(); return }
    const bar = $("progress", box), text = $("p", box), sending = new XMLHttpRequest();
    const failed = what => { box.hidden = true; said(form, what) };
    sending.open("POST", form.action);
    for (const [name, value] of [["Accept", "application/problem+json"], ["HX-Request", "true"], ["HX-Request-Type", "partial"]]) sending.setRequestHeader(name, value);
    sending.upload.onprogress = p => { bar.value = 100 * p.loaded / p.total; text.textContent = `${megabytes(p.loaded)} of ${megabytes(p.total)} MB sent` };
    sending.upload.onload = () => { text.textContent = "Sent; it is being stored" };
    sending.onerror = () => failed("The file did not arrive. Try again.");
    sending.onload = () => {
      const to = sending.getResponseHeader("HX-Location"), out = sending.getResponseHeader("HX-Redirect");
      if (out) return location.assign(out);
      if (to) return location.assign(JSON.parse(to).path);
      try { const p = JSON.parse(sending.responseText); failed(p.fields?.file || p.detail || p.title) } catch { failed("The file was not taken. Load the page again.") }
    };
    said(form, ""); $("[type=submit]", form).disabled = true; box.hidden = false; sending.send(new FormData(form));
  }, true);

  // --- type to confirm (the button works without scripts; the server checks what matters) ---------------
  const gate = i => { const b = $("#" + i.dataset.enables); if (b) b.disabled = i.value.trim() !== i.dataset.confirm };
  on("input", e => { const i = e.target.closest("[data-confirm]"); if (i) gate(i) });
  on("htmx:after:swap", () => $$("[data-confirm]").forEach(gate));
  $$("[data-confirm]").forEach(gate);
  // the first thing that is wrong gets the focus
  $("[data-focus]")?.focus();
})();
