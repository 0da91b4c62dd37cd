// The styles: a grid of toggle buttons, "add your own", and a slider for each chosen one.
// props.value is what is chosen: [{id, title, weight}, ...] in the order of choosing.
{
  const MOST = 4;
  const root = (window.gradio_config?.root || location.origin).replace(/\/$/, "");
  const box = element.querySelector(".picker");
  const [mix, note, grid] = ["mix", "note", "grid"].map((name) => box.querySelector("." + name));
  const file = box.querySelector("input[type=file]");
  let styles = [];
  let chosen = props.value || [];

  const make = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  };

  const say = (text) => { note.textContent = text; };

  const publish = () => {
    window.impasto = { ...window.impasto, styles: chosen };
    props.value = chosen.map((one) => ({ ...one }));
    trigger("change");
  };

  const draw = () => {
    for (const button of grid.querySelectorAll("button.style")) {
      const place = chosen.findIndex((one) => one.id === button.dataset.id);
      button.setAttribute("aria-pressed", place >= 0);
      button.querySelector(".place").textContent = chosen.length > 1 && place >= 0 ? place + 1 : "";
    }
    mix.replaceChildren(...chosen.map((one, place) => {
      const slider = make("input", { type: "range", min: 0, max: 100, step: 1, value: one.weight, "aria-label": "Share of " + one.title });
      const share = make("output");
      const show = () => {
        const all = chosen.reduce((sum, other) => sum + other.weight, 0);
        mix.querySelectorAll("output").forEach((node, i) => { node.textContent = all ? Math.round(100 * chosen[i].weight / all) + " %" : "0 %"; });
      };
      slider.addEventListener("input", () => { one.weight = Number(slider.value); show(); });
      slider.addEventListener("change", publish);
      queueMicrotask(show);
      const name = make("span", {}, one.title);
      return chosen.length === 1 ? make("p", {}, name) : make("label", {}, make("b", {}, place + 1), name, slider, share);
    }));
  };

  const toggle = (style) => {
    const place = chosen.findIndex((one) => one.id === style.id);
    if (place >= 0) {
      if (chosen.length === 1) return say("One style has to stay: choose another first.");
      chosen.splice(place, 1);
    } else {
      if (chosen.length === MOST) return say(`${MOST} styles at most: take one away first.`);
      chosen.push({ id: style.id, title: style.title, weight: 50 });
    }
    say("");
    draw();
    publish();
  };

  const card = (style) => {
    const picture = make("img", { src: `${root}/thumbs/${style.id}.jpg`, alt: "", loading: "lazy", width: 128, height: 128 });
    picture.addEventListener("error", () => setTimeout(() => { picture.src = picture.src.split("?")[0] + "?" + Date.now(); }, 3000), { once: true });
    const button = make("button", { type: "button", class: "style", "aria-pressed": "false", "data-id": style.id, title: style.by ? `${style.title}. ${style.by}` : style.title },
      picture, make("span", { class: "place", "aria-hidden": "true" }), make("span", { class: "title" }, style.title), make("span", { class: "by" }, style.by));
    button.addEventListener("click", () => toggle(style));
    return button;
  };

  const add = async (files) => {
    for (const one of files) {
      say(`Looking at ${one.name} ...`);
      try {
        const form = new FormData();
        form.append("file", one);
        const answer = await fetch(`${root}/v1/styles`, { method: "POST", body: form });
        const said = await answer.json();
        if (!answer.ok) { say(said.error); continue; }
        const style = { id: said.id, title: one.name.replace(/\.[^.]*$/, ""), by: "your own" };
        // The same picture once more has the same id, and so its card already.
        if (![...grid.querySelectorAll("button.style")].some((known) => known.dataset.id === style.id)) grid.prepend(card(style));
        if (chosen.some((known) => known.id === style.id)) { say(""); continue; }
        if (chosen.length === MOST) chosen.pop();
        toggle(style);
      } catch {
        say("The server cannot be reached: is it still running?");
      }
    }
    file.value = "";
  };

  file.addEventListener("change", () => add(file.files));
  box.addEventListener("dragover", (event) => { event.preventDefault(); box.classList.add("over"); });
  box.addEventListener("dragleave", () => box.classList.remove("over"));
  box.addEventListener("drop", (event) => { event.preventDefault(); box.classList.remove("over"); add(event.dataTransfer.files); });

  fetch(`${root}/v1/styles`).then((answer) => answer.json()).then((listed) => {
    styles = listed.filter((style) => !style.uploaded);
    grid.append(...styles.map(card));
    window.impasto = { ...window.impasto, styles: chosen };
    draw();
    const first = grid.querySelector("[aria-pressed=true]");
    if (first) { grid.scrollTop = first.offsetTop - grid.offsetTop - 12; grid.scrollLeft = first.offsetLeft - grid.offsetLeft - 12; }
  });
}
