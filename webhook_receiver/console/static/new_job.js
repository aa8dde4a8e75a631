"use strict";
// The form of a new job: shows the available fields, uploads files, and fetches the estimate.
(() => {
  const { api, showAlert } = window.rushes;
  const byId = (id) => document.getElementById(id);
  const form = byId("new");
  const rules = JSON.parse(byId("rules").textContent);
  const ESTIMATE_AFTER_MS = 350;
  const MB = 1 << 20;
  const fieldOf = (name) => form.querySelector(`[data-field="${name}"]`);
  const control = (name) => byId(`f-${name}`);
  const touched = new Set();

  // --- the available fields

  function operation() {
    return rules.operations[form.elements.operation.value];
  }

  function unavailableFields() {
    const sounds = control("sound").checked && !unavailableWith(false).sound;
    return unavailableWith(sounds);
  }

  const unavailableWith = (sound) => operation().unavailable[`${control("model").value} ${control("mode").value} ${sound}`];

  function updateFields() {
    setOptions(control("model"), operation().models);
    const lengths = rules.durations[control("model").value];
    if (lengths) setOptions(control("duration"), lengths, "5", (length) => `${length} s`);
    const unavailable = unavailableFields();
    for (const field of form.querySelectorAll("[data-field]")) {
      field.hidden = field.dataset.field in unavailable;
      for (const control of field.querySelectorAll("input, select, textarea")) control.disabled = field.hidden;
    }
    updateLabels();
    showText("why-not", unavailable.sound?.startsWith("Needs") ? `With sound: ${lower(unavailable.sound)}` : "");
  }

  /** Set the options; the choice stays, or becomes the most similar option. */
  function setOptions(select, values, fallback = "", labelFor = String) {
    if ([...select.options].map((option) => option.value).join() === values.join()) return;
    const before = select.value;
    select.replaceChildren(...values.map((value) => new Option(labelFor(value), value)));
    const similar = values.find((value) => before && (String(value).startsWith(before) || before.startsWith(value)));
    select.value = values.map(String).find((value) => value === before) ?? similar ?? fallback;
    if (select.selectedIndex < 0) select.selectedIndex = 0;
  }

  function updateLabels() {
    const two = !fieldOf("last_image_url").hidden;
    const optional = operation().may_have.includes("image_url");
    fieldOf("image_url").querySelector("label").textContent = two ? "First picture" : optional ? "Picture, may be left out" : "Picture";
    form.querySelectorAll(".shot").forEach((shot, at) => {
      shot.querySelector("textarea").setAttribute("aria-label", `Prompt of shot ${at + 1}`);
      shot.querySelector("input").setAttribute("aria-label", `Seconds of shot ${at + 1}, may be left empty`);
      shot.querySelector(".less").setAttribute("aria-label", `Remove shot ${at + 1}`);
      shot.querySelector(".less").hidden = form.querySelectorAll(".shot").length === 1;
    });
    form.querySelector(".more").disabled = form.querySelectorAll(".shot").length >= rules.shots;
  }

  const lower = (text) => text.charAt(0).toLowerCase() + text.slice(1);

  function showText(id, text) {
    byId(id).textContent = text;
    byId(id).hidden = !text;
  }

  // --- what is wrong with which field

  function showProblem(name, text) {
    const place = byId(`problem-${name}`);
    if (!place) return false;
    place.textContent = text;
    place.hidden = !text;
    for (const element of controls(name)) element.toggleAttribute("aria-invalid", false);
    if (text) for (const element of controls(name)) element.setAttribute("aria-invalid", "true");
    if (text) place.closest("details")?.setAttribute("open", "");
    return Boolean(text);
  }

  const controls = (name) => (name === "multi_prompt" ? form.querySelectorAll(".shot textarea") : [control(name)].filter(Boolean));

  /** The messages of the schema about a field, as a flat list of sentences; entries of lists are numbered from 1. */
  function sentences(messages) {
    if (typeof messages === "string") return [messages];
    if (Array.isArray(messages)) return messages.flatMap(sentences);
    return Object.entries(messages).flatMap(([key, inner]) =>
      sentences(inner).map((text) => (/^\d+$/.test(key) ? `${Number(key) + 1}: ${lower(text)}` : text)),
    );
  }

  /** Show all problems, or only those of fields that were edited. */
  function showProblems(fields, all) {
    const wrong = Object.keys(fields ?? {});
    for (const field of form.querySelectorAll("[data-field]")) {
      const name = field.dataset.field;
      const text = wrong.includes(name) ? sentences(fields[name]).join(" ") : "";
      if (!field.dataset.refusal) showProblem(name, all || touched.has(name) ? text : "");
    }
    return wrong;
  }

  // --- the estimate

  let pending = null;
  let timer = 0;

  function estimateSoon() {
    clearTimeout(timer);
    form.querySelector(".side").classList.add("stale");
    timer = setTimeout(estimate, ESTIMATE_AFTER_MS);
  }

  async function estimate() {
    pending?.abort();
    const current = (pending = new AbortController());
    try {
      const result = await api("/console/estimates", { method: "POST", body: formData(), signal: current.signal, quiet: true });
      if (current.signal.aborted) return;
      showProblems(result.error?.fields, false);
      showQuotes(result.data);
      if (result.error) byId("estimate-text").textContent = estimateProblem(result.error);
    } catch (error) {
      if (current.signal.aborted) return;
      showQuotes([]);
      byId("estimate-text").textContent = error.message;
    }
    form.querySelector(".side").classList.remove("stale");
  }

  function estimateProblem(error) {
    const names = Object.keys(error.fields ?? {}).filter((name) => fieldOf(name));
    const untouched = names.filter((name) => !touched.has(name));
    if (names.length && untouched.length === names.length) return `To see prices, fill in: ${names.map(labelOf).join(", ")}.`;
    return names.length ? `No price yet: look at ${names.map(labelOf).join(", ")}.` : error.message;
  }

  const labelOf = (name) => lower(fieldOf(name)?.querySelector("label, .label")?.firstChild.textContent.trim() ?? name);

  function formData() {
    const data = new FormData(form);
    data.delete("csrf_token");
    return data;
  }

  function showQuotes(data) {
    const able = data.filter((quote) => quote.able);
    const best = able[0];
    const price = (quote) => (quote.estimated_cost_usd ? `$${quote.estimated_cost_usd}` : "price unknown");
    byId("estimate-text").textContent = best
      ? `${best.provider} is first, at ${price(best)}; ${able.length === 1 ? "no other gateway can do it" : `${able.length} of ${data.length} can do it`}.`
      : "No enabled gateway can do this. Each says why below.";
    byId("quotes").replaceChildren(...data.map((quote) => quoteLine(quote, price(quote), quote === best)));
  }

  function quoteLine(quote, price, first) {
    const line = element("li", quote.able ? (first ? "first" : "") : "unable");
    line.append(element("span", "gateway-name", quote.provider));
    line.append(element("span", "price num", quote.able ? price : "cannot"));
    if (quote.why_not) line.append(element("span", "why hint", quote.why_not));
    if (quote.able && quote.price) line.append(element("span", "why hint", priceText(quote.price)));
    if (quote.able && quote.recent_bills) line.append(element("span", "why hint bills", billsText(quote.recent_bills)));
    for (const note of quote.notes) line.append(element("span", "why hint note", note));
    if (quote.would_send) {
      const details = element("details", "");
      details.append(element("summary", "", "The request to it"), element("pre", "", JSON.stringify(quote.would_send, null, 2)));
      details.querySelector("pre").tabIndex = 0;
      line.append(details);
    }
    return line;
  }

  const CONFIDENCES = { documented: "documented", third_party: "by a third party", inferred: "inferred" };

  function priceText(price) {
    const unit = price.usd_per_clip ? `$${price.usd_per_clip} a clip` : `$${price.usd_per_second} a second`;
    const facts = [unit, CONFIDENCES[price.confidence], price.source, price.checked && `checked ${price.checked}`];
    return facts.filter(Boolean).join(" · ");
  }

  function billsText({ count, mean_ratio, expected_cost_usd }) {
    const bills = count === 1 ? "Its last bill" : `Its last ${count} bills`;
    const ratio = Math.round(Number(mean_ratio) * 100) / 100;
    if (ratio === 1) return `${bills}: as estimated.`;
    const expected = expected_cost_usd ? `, so expect about $${expected_cost_usd}` : "";
    return `${bills}: ${ratio} times the estimate on average${expected}.`;
  }

  function element(tag, className, text = "") {
    const node = document.createElement(tag);
    node.className = className;
    node.textContent = text;
    return node;
  }

  // --- uploads

  const uploadFields = [...form.querySelectorAll("[data-upload]")].map((field) => new UploadField(field));

  function UploadField(field) {
    const name = field.dataset.upload;
    const limits = rules.uploads[name];
    const part = (choice) => field.querySelector(choice);
    const address = control(name);
    let request = null;
    let previewUrl = "";

    const accepts = (file) => limits.types.includes(typeOf(file));
    const fail = (text) => {
      field.dataset.refusal = text ? "yes" : "";
      part(".drop").classList.toggle("bad", Boolean(text));
      showProblem(name, text);
      if (text) part(".upload-status").textContent = "";
    };

    async function take(file) {
      stop();
      clear();
      let facts;
      try {
        facts = await check(file, limits);
      } catch (refusal) {
        return fail(`${file.name}: ${refusal.message}`);
      }
      show(file, facts);
      send(file);
    }

    function clear() {
      URL.revokeObjectURL(previewUrl);
      part(".preview").replaceChildren();
      part(".preview").hidden = true;
      address.value = "";
      delete field.dataset.seconds;
      fail("");
      checkOrientation();
      estimateSoon();
    }

    function show(file, facts) {
      previewUrl = URL.createObjectURL(file);
      const picture = element(facts.kind === "image" ? "img" : "video", "");
      if (facts.kind === "image") picture.alt = file.name;
      else Object.assign(picture, { controls: true, muted: true, playsInline: true });
      picture.src = previewUrl;
      if (facts.readable) part(".preview").append(picture);
      part(".preview").hidden = !facts.readable;
    }

    function send(file) {
      const data = new FormData();
      data.append(name, file, file.name);
      request = new XMLHttpRequest();
      request.open("POST", `${document.documentElement.dataset.root}/console/uploads`);
      request.setRequestHeader("Accept", "application/json");
      request.setRequestHeader("X-CSRF-Token", document.querySelector('meta[name="csrf-token"]').content);
      request.responseType = "json";
      const bar = part("progress");
      bar.value = 0;
      part(".upload-progress").hidden = false;
      part(".upload-status").textContent = `Sending ${file.name}…`;
      request.upload.onprogress = (event) => (bar.value = event.total ? event.loaded / event.total : 0);
      request.onload = () => uploaded(file);
      request.onerror = () => finish("The upload broke off. Check your network, then choose the file again.");
      request.send(data);
    }

    function uploaded(file) {
      const { status, response } = request;
      if (status !== 201) {
        const error = response?.error;
        return finish(error?.fields?.[name]?.join(" ") ?? error?.message ?? `The receiver answered ${status}. Try again.`);
      }
      finish("");
      address.value = response.url;
      const length = response.duration_s ? `, ${response.duration_s} s` : "";
      part(".upload-status").replaceChildren(`${file.name}: ${response.width} × ${response.height} px${length}, ${size(response.size)}, in the bucket. `);
      const open = element("a", "", "Open");
      Object.assign(open, { href: response.preview, target: "_blank", rel: "noopener" });
      part(".upload-status").append(open);
      if (response.duration_s) field.dataset.seconds = response.duration_s;
      touched.add(name);
      checkOrientation();
      estimateSoon();
    }

    function finish(text) {
      request = null;
      part(".upload-progress").hidden = true;
      part(".upload-status").textContent = "";
      fail(text);
    }

    function stop() {
      request?.abort();
      request = null;
      part(".upload-progress").hidden = true;
    }

    part(".file").addEventListener("change", (event) => {
      const [file] = event.target.files;
      event.target.value = ""; // so that the same file can be chosen again
      if (file) take(file);
    });
    part(".cancel").addEventListener("click", () => {
      stop();
      clear();
      part(".upload-status").textContent = "Canceled.";
      part(".file").focus();
    });
    address.addEventListener("input", () => {
      part(".preview").hidden = true;
      part(".upload-status").textContent = "";
      delete field.dataset.seconds;
      fail("");
      checkOrientation();
    });
    Object.assign(this, { name, field, accepts, take, fail, names: limits.names, busy: () => request !== null, empty: () => !address.value && !request });
  }

  const size = (bytes) => (bytes < MB ? `${Math.ceil(bytes / 1024)} KB` : `${(bytes / MB).toFixed(1)} MB`);

  /** By its type; by the end of its name where the system knows no type. */
  function typeOf(file) {
    const endings = { jpg: "image/jpeg", jpeg: "image/jpeg", png: "image/png", mp4: "video/mp4", m4v: "video/mp4", mov: "video/quicktime" };
    const type = file.type === "video/x-m4v" ? "video/mp4" : file.type;
    return type || endings[file.name.split(".").pop().toLowerCase()] || "";
  }

  /** Check a file before it is sent; throws what is wrong. The server checks what the browser cannot read. */
  async function check(file, limits) {
    if (!limits.types.includes(typeOf(file))) throw new Error(`not ${limits.names}. Choose another file.`);
    if (!file.size) throw new Error("the file is empty.");
    if (file.size > limits.max_bytes) {
      throw new Error(`${size(file.size)} is more than ${limits.max_bytes / MB} MB. Make it smaller, then choose it again.`);
    }
    const facts = await measure(file);
    if (!facts.readable) return facts;
    const [least, most] = limits.sides_px;
    for (const side of [facts.width, facts.height]) {
      if (side < least || side > most) throw new Error(`${facts.width} × ${facts.height} px; each side must have ${least} to ${most} px.`);
    }
    return facts.kind === "image" ? checkShape(facts) : checkLength(facts);
  }

  function checkShape(facts) {
    const [wide, high] = rules.widest;
    const [short, long] = [facts.width, facts.height].sort((a, b) => a - b);
    if (long * high > short * wide) throw new Error(`${facts.width} × ${facts.height} px is longer than ${wide / high}:1. Crop it.`);
    return facts;
  }

  function checkLength(facts) {
    const seconds = Math.round(facts.seconds * 100) / 100;
    const most = Math.max(...Object.values(rules.longest_s));
    if (seconds < rules.shortest_s) throw new Error(`${seconds} s is shorter than ${rules.shortest_s} s.`);
    if (seconds > most) throw new Error(`${seconds} s is longer than ${most} s. Cut it.`);
    return facts;
  }

  function measure(file) {
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

  /** Show a problem at the orientation where the clip is too long for it, before anything is sent. */
  function checkOrientation() {
    const seconds = Number(fieldOf("video_url").dataset.seconds || 0);
    const most = rules.longest_s[control("character_orientation").value];
    const field = fieldOf("character_orientation");
    const wrong = seconds > most;
    field.dataset.refusal = wrong ? "yes" : "";
    showProblem("character_orientation", wrong ? `The clip has ${seconds} s; this orientation takes up to ${most} s. Choose the other one, or a shorter clip.` : "");
  }

  // Files may be dropped anywhere on the form: each goes to a field that accepts it.
  const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const uploadAt = (event) => uploadFields.find((upload) => upload.field === event.target.closest?.("[data-upload]"));
  const highlight = (on) => uploadFields.forEach((upload) => upload.field.querySelector(".drop").classList.toggle("over", on && !upload.field.hidden));

  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    highlight(true);
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) highlight(false);
  });
  document.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    highlight(false);
    showAlert("");
    const open = uploadFields.filter((upload) => !upload.field.hidden);
    const used = new Set();
    for (const file of event.dataTransfer.files) {
      const accepting = open.filter((upload) => upload.accepts(file) && !used.has(upload));
      const target = uploadAt(event);
      const upload = accepting.find((each) => each === target) ?? accepting.find((each) => each.empty()) ?? accepting[0];
      used.add(upload);
      if (upload) upload.take(file);
      else if (target) target.fail(`${file.name}: not ${target.names}. Choose another file.`);
      else showAlert(`${file.name} fits no field of ${form.querySelector(".operation:has(:checked) b").textContent.toLowerCase()}.`);
    }
  });

  // --- shots, character counts, and the submit

  form.querySelector(".more").addEventListener("click", () => {
    const list = form.querySelector(".shots");
    list.append(byId("shot").content.cloneNode(true));
    list.querySelectorAll("input, textarea").forEach((control) => (control.disabled = false));
    updateLabels();
    list.lastElementChild.querySelector("textarea").focus();
  });
  form.addEventListener("click", (event) => {
    const shot = event.target.closest(".less")?.closest(".shot");
    if (!shot) return;
    (shot.nextElementSibling ?? shot.previousElementSibling).querySelector("textarea").focus();
    shot.remove();
    updateLabels();
    estimateSoon();
  });

  function count(area) {
    const most = rules.chars[area.name];
    const place = area.parentNode.querySelector(".count") ?? area.insertAdjacentElement("afterend", element("span", "count hint"));
    const used = [...area.value].length;
    place.textContent = used ? `${used} of ${most}` : "";
    place.classList.toggle("over", used > most);
  }

  form.addEventListener("input", (event) => {
    const field = event.target.closest("[data-field]");
    if (field && event.target.type !== "file") touched.add(field.dataset.field);
    if (event.target.matches("[data-count]")) count(event.target);
    if (event.target.matches('[type="radio"], [type="checkbox"], select')) updateFields();
    if (event.target.name === "operation") touched.clear();
    if (event.target.id === "f-character_orientation") checkOrientation();
    if (event.target.type !== "file") estimateSoon();
  });

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (uploadFields.some((upload) => upload.busy() && !upload.field.hidden)) return showAlert("A file is still being uploaded. Wait for it, then send again.");
    const button = byId("submit");
    button.disabled = true;
    button.textContent = "Sending…";
    try {
      const job = await api("/new", { method: "POST", body: formData() });
      location.assign(job.location);
    } catch (error) {
      button.disabled = false;
      button.textContent = "Make the video";
      showRefusal(error);
    }
  });

  function showRefusal(error) {
    const wrong = showProblems(error.fields, true).filter((name) => fieldOf(name) && !fieldOf(name).hidden);
    for (const name of wrong) touched.add(name);
    if (error.code === "no_provider") return estimate();
    if (!wrong.length) return;
    showAlert(`Not sent yet. Look at ${wrong.map(labelOf).join(", ")}.`);
    (controls(wrong[0])[0] ?? form).focus();
  }

  updateFields();
  form.querySelectorAll("[data-count]").forEach(count);
  estimateSoon();
})();
