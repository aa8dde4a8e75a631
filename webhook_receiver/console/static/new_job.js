"use strict";
// The form of a new job: shows the fields that fit, puts files into the bucket, asks what it would cost.
(() => {
  const { api, alertWith } = window.rushes;
  const byId = (id) => document.getElementById(id);
  const form = byId("new");
  const rules = JSON.parse(byId("rules").textContent);
  const ESTIMATE_AFTER_MS = 350;
  const MB = 1 << 20;
  const fieldOf = (name) => form.querySelector(`[data-field="${name}"]`);
  const control = (name) => byId(`f-${name}`);
  const touched = new Set();

  // --- the fields that fit

  function operation() {
    return rules.operations[form.elements.operation.value];
  }

  function refused() {
    const sounds = control("sound").checked && !refusedWith(false).sound;
    return refusedWith(sounds);
  }

  const refusedWith = (sound) => operation().refuses[`${control("model").value} ${control("mode").value} ${sound}`];

  function fit() {
    choose(control("model"), operation().models);
    const lengths = rules.durations[control("model").value];
    if (lengths) choose(control("duration"), lengths, "5", (length) => `${length} s`);
    const not = refused();
    for (const field of form.querySelectorAll("[data-field]")) {
      field.hidden = field.dataset.field in not;
      for (const each of field.querySelectorAll("input, select, textarea")) each.disabled = field.hidden;
    }
    labels();
    tell("why-not", not.sound?.startsWith("Needs") ? `With sound: ${lower(not.sound)}` : "");
  }

  /** Make these the options; what was chosen stays, or its nearest of kin. */
  function choose(select, words, usual = "", named = String) {
    if ([...select.options].map((option) => option.value).join() === words.join()) return;
    const before = select.value;
    select.replaceChildren(...words.map((word) => new Option(named(word), word)));
    const kin = words.find((word) => before && (String(word).startsWith(before) || before.startsWith(word)));
    select.value = words.map(String).find((word) => word === before) ?? kin ?? usual;
    if (select.selectedIndex < 0) select.selectedIndex = 0;
  }

  function labels() {
    const two = !fieldOf("last_image_url").hidden;
    fieldOf("image_url").querySelector("label").textContent = two ? "First picture" : "Picture";
    form.querySelectorAll(".shot").forEach((shot, at) => {
      shot.querySelector("textarea").setAttribute("aria-label", `Prompt of shot ${at + 1}`);
      shot.querySelector("input").setAttribute("aria-label", `Seconds of shot ${at + 1}, may be left empty`);
      shot.querySelector(".less").setAttribute("aria-label", `Remove shot ${at + 1}`);
      shot.querySelector(".less").hidden = form.querySelectorAll(".shot").length === 1;
    });
    form.querySelector(".more").disabled = form.querySelectorAll(".shot").length >= rules.shots;
  }

  const lower = (text) => text.charAt(0).toLowerCase() + text.slice(1);

  function tell(id, text) {
    byId(id).textContent = text;
    byId(id).hidden = !text;
  }

  // --- what is wrong with which field

  function problem(name, text) {
    const place = byId(`problem-${name}`);
    if (!place) return false;
    place.textContent = text;
    place.hidden = !text;
    for (const each of marked(name)) each.toggleAttribute("aria-invalid", false);
    if (text) for (const each of marked(name)) each.setAttribute("aria-invalid", "true");
    if (text) place.closest("details")?.setAttribute("open", "");
    return Boolean(text);
  }

  const marked = (name) => (name === "multi_prompt" ? form.querySelectorAll(".shot textarea") : [control(name)].filter(Boolean));

  /** Lists, and lists by number: what the schema says of a field, in one sentence after the other. */
  function sentences(told) {
    if (typeof told === "string") return [told];
    if (Array.isArray(told)) return told.flatMap(sentences);
    return Object.entries(told).flatMap(([key, inner]) =>
      sentences(inner).map((text) => (/^\d+$/.test(key) ? `${Number(key) + 1}: ${lower(text)}` : text)),
    );
  }

  /** Show them all, or those of the fields that somebody has been in. */
  function problems(fields, all) {
    const wrong = Object.keys(fields ?? {});
    for (const field of form.querySelectorAll("[data-field]")) {
      const name = field.dataset.field;
      const said = wrong.includes(name) ? sentences(fields[name]).join(" ") : "";
      if (!field.dataset.refusal) problem(name, all || touched.has(name) ? said : "");
    }
    return wrong;
  }

  // --- the estimate

  let asking = null;
  let timer = 0;

  function estimateSoon() {
    clearTimeout(timer);
    form.querySelector(".side").classList.add("stale");
    timer = setTimeout(estimate, ESTIMATE_AFTER_MS);
  }

  async function estimate() {
    asking?.abort();
    const mine = (asking = new AbortController());
    try {
      const told = await api("/console/estimates", { method: "POST", body: said(), signal: mine.signal, quiet: true });
      if (mine.signal.aborted) return;
      problems(told.error?.fields, false);
      quotes(told.data);
      if (told.error) byId("estimate-said").textContent = missing(told.error);
    } catch (error) {
      if (mine.signal.aborted) return;
      quotes([]);
      byId("estimate-said").textContent = error.message;
    }
    form.querySelector(".side").classList.remove("stale");
  }

  function missing(error) {
    const names = Object.keys(error.fields ?? {}).filter((name) => fieldOf(name));
    const untouched = names.filter((name) => !touched.has(name));
    if (names.length && untouched.length === names.length) return `To see prices, fill in: ${names.map(labelOf).join(", ")}.`;
    return names.length ? `No price yet: look at ${names.map(labelOf).join(", ")}.` : error.message;
  }

  const labelOf = (name) => lower(fieldOf(name)?.querySelector("label, .label")?.firstChild.textContent.trim() ?? name);

  function said() {
    const data = new FormData(form);
    data.delete("csrf_token");
    return data;
  }

  function quotes(data) {
    const able = data.filter((quote) => quote.able);
    const best = able[0];
    const price = (quote) => (quote.estimated_cost_usd ? `$${quote.estimated_cost_usd}` : "price unknown");
    byId("estimate-said").textContent = best
      ? `${best.provider} is first, at ${price(best)}; ${able.length === 1 ? "no other can do it" : `${able.length} of ${data.length} can do it`}.`
      : "No enabled gateway can do this. Each says why below.";
    byId("quotes").replaceChildren(...data.map((quote) => quoted(quote, price(quote), quote === best)));
  }

  function quoted(quote, price, first) {
    const line = made("li", quote.able ? (first ? "first" : "") : "unable");
    line.append(made("span", "who-name", quote.provider));
    line.append(made("span", "price num", quote.able ? price : "cannot"));
    if (quote.why_not) line.append(made("span", "why hint", quote.why_not));
    if (quote.would_send) {
      const details = made("details", "");
      details.append(made("summary", "", "What it would be sent"), made("pre", "", JSON.stringify(quote.would_send, null, 2)));
      details.querySelector("pre").tabIndex = 0;
      line.append(details);
    }
    return line;
  }

  function made(tag, kind, text = "") {
    const node = document.createElement(tag);
    node.className = kind;
    node.textContent = text;
    return node;
  }

  // --- files into the bucket

  const zones = [...form.querySelectorAll("[data-upload]")].map((field) => new Zone(field));

  function Zone(field) {
    const name = field.dataset.upload;
    const limits = rules.uploads[name];
    const part = (choice) => field.querySelector(choice);
    const address = control(name);
    let request = null;
    let shown = "";

    const takes = (file) => limits.types.includes(typeOf(file));
    const fail = (text) => {
      field.dataset.refusal = text ? "yes" : "";
      part(".drop").classList.toggle("bad", Boolean(text));
      problem(name, text);
      if (text) part(".told").textContent = "";
    };

    async function take(file) {
      stop();
      clear();
      let facts;
      try {
        facts = await looked(file, limits);
      } catch (refusal) {
        return fail(`${file.name}: ${refusal.message}`);
      }
      show(file, facts);
      send(file);
    }

    function clear() {
      URL.revokeObjectURL(shown);
      part(".shown").replaceChildren();
      part(".shown").hidden = true;
      address.value = "";
      delete field.dataset.seconds;
      fail("");
      orientation();
      estimateSoon();
    }

    function show(file, facts) {
      shown = URL.createObjectURL(file);
      const picture = made(facts.kind === "image" ? "img" : "video", "");
      if (facts.kind === "image") picture.alt = file.name;
      else Object.assign(picture, { controls: true, muted: true, playsInline: true });
      picture.src = shown;
      if (facts.readable) part(".shown").append(picture);
      part(".shown").hidden = !facts.readable;
    }

    function send(file) {
      const data = new FormData();
      data.append(name, file, file.name);
      request = new XMLHttpRequest();
      request.open("POST", "/console/uploads");
      request.setRequestHeader("Accept", "application/json");
      request.setRequestHeader("X-CSRF-Token", document.querySelector('meta[name="csrf-token"]').content);
      request.responseType = "json";
      const bar = part("progress");
      bar.value = 0;
      part(".under-way").hidden = false;
      part(".told").textContent = `Sending ${file.name}…`;
      request.upload.onprogress = (event) => (bar.value = event.total ? event.loaded / event.total : 0);
      request.onload = () => answered(file);
      request.onerror = () => ended("It broke off on its way. Look at your network, then choose the file again.");
      request.send(data);
    }

    function answered(file) {
      const { status, response } = request;
      if (status !== 201) {
        const error = response?.error;
        return ended(error?.fields?.[name]?.join(" ") ?? error?.message ?? `The receiver answered ${status}. Try again.`);
      }
      ended("");
      address.value = response.url;
      const length = response.duration_s ? `, ${response.duration_s} s` : "";
      part(".told").replaceChildren(`${file.name}: ${response.width} × ${response.height} px${length}, ${size(response.size)}, in the bucket. `);
      const open = made("a", "", "Open");
      Object.assign(open, { href: response.preview, target: "_blank", rel: "noopener" });
      part(".told").append(open);
      if (response.duration_s) field.dataset.seconds = response.duration_s;
      touched.add(name);
      orientation();
      estimateSoon();
    }

    function ended(text) {
      request = null;
      part(".under-way").hidden = true;
      part(".told").textContent = "";
      fail(text);
    }

    function stop() {
      request?.abort();
      request = null;
      part(".under-way").hidden = true;
    }

    part(".file").addEventListener("change", (event) => {
      const [file] = event.target.files;
      event.target.value = ""; // the same file may be chosen again
      if (file) take(file);
    });
    part(".cancel").addEventListener("click", () => {
      stop();
      clear();
      part(".told").textContent = "Canceled.";
      part(".file").focus();
    });
    address.addEventListener("input", () => {
      part(".shown").hidden = true;
      part(".told").textContent = "";
      delete field.dataset.seconds;
      fail("");
      orientation();
    });
    Object.assign(this, { name, field, takes, take, fail, names: limits.names, busy: () => request !== null, empty: () => !address.value && !request });
  }

  const size = (bytes) => (bytes < MB ? `${Math.ceil(bytes / 1024)} KB` : `${(bytes / MB).toFixed(1)} MB`);

  /** By its type, or where the system knows none by the end of its name. */
  function typeOf(file) {
    const endings = { jpg: "image/jpeg", jpeg: "image/jpeg", png: "image/png", mp4: "video/mp4", m4v: "video/mp4", mov: "video/quicktime" };
    const type = file.type === "video/x-m4v" ? "video/mp4" : file.type;
    return type || endings[file.name.split(".").pop().toLowerCase()] || "";
  }

  /** Look at a file before it is sent; what the browser cannot read, the server will. Throws what is wrong with it. */
  async function looked(file, limits) {
    if (!limits.types.includes(typeOf(file))) throw new Error(`not ${limits.names}. Choose another file.`);
    if (!file.size) throw new Error("the file is empty.");
    if (file.size > limits.max_bytes) {
      throw new Error(`${size(file.size)} is more than ${limits.max_bytes / MB} MB. Make it smaller, then choose it again.`);
    }
    const facts = await measured(file);
    if (!facts.readable) return facts;
    const [least, most] = limits.sides_px;
    for (const side of [facts.width, facts.height]) {
      if (side < least || side > most) throw new Error(`${facts.width} × ${facts.height} px; each side must have ${least} to ${most} px.`);
    }
    return facts.kind === "image" ? shaped(facts) : lasting(facts);
  }

  function shaped(facts) {
    const [wide, high] = rules.widest;
    const [short, long] = [facts.width, facts.height].sort((one, other) => one - other);
    if (long * high > short * wide) throw new Error(`${facts.width} × ${facts.height} px is longer than ${wide / high}:1. Crop it.`);
    return facts;
  }

  function lasting(facts) {
    const seconds = Math.round(facts.seconds * 100) / 100;
    const most = Math.max(...Object.values(rules.longest_s));
    if (seconds < rules.shortest_s) throw new Error(`${seconds} s is shorter than ${rules.shortest_s} s.`);
    if (seconds > most) throw new Error(`${seconds} s is longer than ${most} s. Cut it.`);
    return facts;
  }

  function measured(file) {
    const kind = typeOf(file).split("/")[0];
    const node = document.createElement(kind === "image" ? "img" : "video");
    const url = URL.createObjectURL(file);
    return new Promise((done) => {
      const end = (readable) => {
        URL.revokeObjectURL(url);
        const [width, height] = kind === "image" ? [node.naturalWidth, node.naturalHeight] : [node.videoWidth, node.videoHeight];
        done({ kind, width, height, seconds: node.duration, readable: readable && width > 0 });
      };
      node.onload = node.onloadedmetadata = () => end(true);
      node.onerror = () => end(false);
      node.preload = "metadata";
      node.src = url;
    });
  }

  /** A clip that is too long for the orientation chosen is told there, before anything is sent. */
  function orientation() {
    const seconds = Number(fieldOf("video_url").dataset.seconds || 0);
    const most = rules.longest_s[control("character_orientation").value];
    const field = fieldOf("character_orientation");
    const wrong = seconds > most;
    field.dataset.refusal = wrong ? "yes" : "";
    problem("character_orientation", wrong ? `The clip has ${seconds} s, and this takes up to ${most} s. Choose the other, or a shorter clip.` : "");
  }

  // Files may be dropped anywhere on the form: each goes where it fits.
  const carries = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const under = (event) => zones.find((zone) => zone.field === event.target.closest?.("[data-upload]"));
  const light = (lit) => zones.forEach((zone) => zone.field.querySelector(".drop").classList.toggle("over", lit && !zone.field.hidden));

  document.addEventListener("dragover", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    light(true);
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) light(false);
  });
  document.addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    light(false);
    alertWith("");
    const open = zones.filter((zone) => !zone.field.hidden);
    const taken = new Set();
    for (const file of event.dataTransfer.files) {
      const fitting = open.filter((zone) => zone.takes(file) && !taken.has(zone));
      const wanted = under(event);
      const zone = fitting.find((each) => each === wanted) ?? fitting.find((each) => each.empty()) ?? fitting[0];
      taken.add(zone);
      if (zone) zone.take(file);
      else if (wanted) wanted.fail(`${file.name}: not ${wanted.names}. Choose another file.`);
      else alertWith(`${file.name} fits no field of ${form.querySelector(".operation:has(:checked) b").textContent.toLowerCase()}.`);
    }
  });

  // --- shots, counts, and the submit

  form.querySelector(".more").addEventListener("click", () => {
    const list = form.querySelector(".shots");
    list.append(byId("shot").content.cloneNode(true));
    list.querySelectorAll("input, textarea").forEach((each) => (each.disabled = false));
    labels();
    list.lastElementChild.querySelector("textarea").focus();
  });
  form.addEventListener("click", (event) => {
    const shot = event.target.closest(".less")?.closest(".shot");
    if (!shot) return;
    (shot.nextElementSibling ?? shot.previousElementSibling).querySelector("textarea").focus();
    shot.remove();
    labels();
    estimateSoon();
  });

  function count(area) {
    const most = rules.chars[area.name];
    const place = area.parentNode.querySelector(".count") ?? area.insertAdjacentElement("afterend", made("span", "count hint"));
    const used = [...area.value].length;
    place.textContent = used ? `${used} of ${most}` : "";
    place.classList.toggle("over", used > most);
  }

  form.addEventListener("input", (event) => {
    const field = event.target.closest("[data-field]");
    if (field && event.target.type !== "file") touched.add(field.dataset.field);
    if (event.target.matches("[data-count]")) count(event.target);
    if (event.target.matches('[type="radio"], [type="checkbox"], select')) fit();
    if (event.target.name === "operation") touched.clear();
    if (event.target.id === "f-character_orientation") orientation();
    if (event.target.type !== "file") estimateSoon();
  });

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (zones.some((zone) => zone.busy() && !zone.field.hidden)) return alertWith("A file is still on its way into the bucket. Wait for it, then send again.");
    const button = byId("submit");
    button.disabled = true;
    button.textContent = "Sending…";
    try {
      const told = await api("/new", { method: "POST", body: said() });
      location.assign(told.location);
    } catch (error) {
      button.disabled = false;
      button.textContent = "Make the video";
      refusedAt(error);
    }
  });

  function refusedAt(error) {
    const wrong = problems(error.fields, true).filter((name) => fieldOf(name) && !fieldOf(name).hidden);
    for (const name of wrong) touched.add(name);
    if (error.code === "no_provider") return estimate();
    if (!wrong.length) return;
    alertWith(`Not sent yet. Look at ${wrong.map(labelOf).join(", ")}.`);
    (marked(wrong[0])[0] ?? form).focus();
  }

  fit();
  form.querySelectorAll("[data-count]").forEach(count);
  estimateSoon();
})();
