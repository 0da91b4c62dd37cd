// The page: what is chosen goes to the painter, in the browser or on the server, and what comes back is shown. While one
// picture is under way only the last wish is kept.

import { BrowserPainter } from "./browser.js";
import { Brush } from "./brush.js";
import { Camera } from "./camera.js";
import { connectClip } from "./clip.js";
import { Gallery } from "./gallery.js";
import { chooseSizes } from "./octaves.js";
import { Words } from "./pixels.js";
import { ServerPainter } from "./server.js";

const PATIENCE = 5000; // ms for the service worker to come
const FIRST = "hokusai-great-wave";
const MOST_STEPS = 50; // that can be undone
const $ = (selector) => document.querySelector(selector);
const picture = $("#picture");
// ?painter=browser or server, ?engine=wasm or webgpu, ?threads=2; ?camera&style=NAME&strength=0.7&stroke=2
const query = new URLSearchParams(location.search);
const camera = new Camera();
const gallery = new Gallery(changed, (name) => painter.thumb(name));
const brush = new Brush($("#brush"), () => ({ thickness: $("#thickness").value / 100, erase: isPressed("#erase") }), () => changed());
let painter;
let photo = null; // { source, name, before } and, once it is decoded, { pixels, width, height }

const isPressed = (selector) => $(selector).ariaPressed === "true";

function say(words) {
  $("#said").textContent = words;
  $("#wrong").textContent = "";
}

/** Says what went wrong; what nobody foresaw goes to the console as well. */
function complain(error) {
  if (!(error instanceof Words)) console.error(error);
  $("#said").textContent = "";
  $("#wrong").textContent = error instanceof Words ? error.message : `Something went wrong: ${error.message}`;
}

/** What is wished for now. */
function wishes() {
  const mask = gallery.mix.length === 2 ? brush.mask : null;
  const weights = gallery.mix.map(([, weight]) => (mask ? 1 : weight)); // a mask says what goes where, and no shares do
  const sum = weights.reduce((total, weight) => total + weight);
  return {
    mix: gallery.mix.map(([name], i) => [name, weights[i] / sum]),
    mask,
    controls: {
      strength: $("#strength").value / 100,
      keepColor: $("#colors").value,
      keep: $("#people").value,
      strokeSize: 2 ** $("#stroke").value, // so that a step is the same change anywhere
    },
  };
}

// What can be undone: all that says how to paint.

const read = () => ({
  mix: gallery.mix.map((entry) => [...entry]), drawing: brush.drawing,
  strength: $("#strength").value, stroke: $("#stroke").value, colors: $("#colors").value, people: $("#people").value,
});
const past = [];
let now;

/** Paints anew, and when the change is `settled` remembers how it was before. */
function changed(settled = true) {
  if (settled) {
    past.push(now);
    if (past.length > MOST_STEPS) past.shift();
    now = read();
    $("#undo").disabled = false;
  }
  showTools();
  repaint();
}

function undo() {
  if (!past.length) return;
  now = past.pop();
  gallery.mix = now.mix;
  brush.drawing = now.drawing;
  for (const id of ["strength", "stroke", "colors", "people"]) $(`#${id}`).value = now[id];
  for (const id of ["strength", "stroke"]) tellValue(id);
  $("#undo").disabled = !past.length;
  showTools();
  repaint();
}

const VALUES = { strength: (value) => `${value} %`, stroke: (value) => `${Number((2 ** value).toFixed(2))} x` };

function tellValue(id) {
  $(`output[for=${id}]`).textContent = $(`#${id}`).ariaValueText = VALUES[id]($(`#${id}`).value);
}

/** Shows the brush where there is a photo and a second style to paint with it, and what fits a style of one's own. */
function showTools() {
  $("#fit").hidden = !painter?.canFit || gallery.mix.length > 1 || !unfitted.has(gallery.mix[0]?.[0]);
  const possible = gallery.mix.length === 2 && !$("#photo-tab").hidden && Boolean(photo?.pixels);
  $("#regions").hidden = !possible;
  if (!possible) $("#brushing").ariaPressed = "false";
  const on = isPressed("#brushing");
  $("#brush").hidden = $("#brushes").hidden = !on;
  $("#divide").disabled = on || !photo?.pixels;
}

/** Shows pixels or a picture on a canvas. */
function show(canvas, shown) {
  if (canvas.width !== shown.width || canvas.height !== shown.height) {
    Object.assign(canvas, { width: shown.width, height: shown.height });
  }
  const context = canvas.getContext("2d");
  if (shown instanceof ImageData) return context.putImageData(shown, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  return context.drawImage(shown, 0, 0);
}

/** Shows a new photo, and as painted what it is: the painting comes in its place. */
function showPhoto({ pixels }) {
  $(".picture").style.setProperty("--ratio", pixels.width / pixels.height);
  show($("#before"), pixels);
  divide(0);
  brush.reset(pixels);
  gallery.forget();
  now.drawing = null;
  for (const step of past) step.drawing = null; // it was drawn on another photo
}

function divide(value) {
  const slider = $("#divide");
  slider.value = value;
  slider.classList.toggle("rests", value <= 0);
  slider.ariaValueText = value > 0 ? `The photo up to ${value} %` : "All painted";
  const at = value >= 100 ? "100%" : value <= 0 ? "0%" : `calc((100% - 32px) * ${value / 100} + 16px)`;
  $(".picture").style.setProperty("--cut", at);
}

let pace = 0; // ms for each pixel that the network painted last

/**
 * Waits for a picture, and says how long that will be: the network cannot say how far it is, but it takes as long for
 * each pixel as the time before.
 */
async function tellLeft(size, { controls: { strokeSize } }, painted) {
  const start = performance.now();
  const work = chooseSizes(size, strokeSize).reduce((sum, { width, height }) => sum + width * height, 0);
  const told = setInterval(() => {
    const [gone, all] = [performance.now() - start, pace * work].map((ms) => Math.round(ms / 1000));
    say(all > gone ? `Painting, about ${all - gone} s left …` : `Painting, ${gone} s so far …`);
  }, 1000);
  const result = await painted.finally(() => clearInterval(told));
  const took = performance.now() - start;
  if (work) pace = took / work;
  return { result, took: Math.round(took) };
}

let wanted = false;
let busy = Promise.resolve();

/** Paints the photo with what is chosen now; while one picture is under way, only the last wish is kept. */
function repaint() {
  if (!photo || camera.on || wanted) return;
  wanted = true;
  $("#stage").ariaBusy = "true";
  busy = busy.then(async () => {
    wanted = false;
    const mine = photo;
    try {
      if (!mine.pixels) {
        Object.assign(mine, await painter.choose(mine.source), { before: null });
        if (mine !== photo) return;
        showPhoto(mine);
        showTools();
      }
      const [wish, title] = [wishes(), gallery.title];
      const { pixels, width, height } = mine;
      const { result, took } = await tellLeft({ width, height }, wish, painter.paint(wish));
      if (mine !== photo) return;
      show(picture, result);
      picture.ariaLabel = `${mine.name} in the style of ${title}`;
      $("#download").disabled = false;
      const all = width ? `all ${width} x ${height}` : "the photo’s own size";
      say(`Painted in ${took} ms, ${result.width} x ${result.height} pixels` +
        (width !== result.width ? `; the download will have ${all}` : ""));
    } catch (error) {
      if (mine === photo && !mine.pixels) photo = mine.before; // what is no picture leaves the one before in its place
      complain(error);
    } finally {
      $("#stage").ariaBusy = String(wanted);
    }
  });
}

function setPhoto(source, name) {
  chooseTab("photo");
  photo = { source, name, before: photo?.pixels ? photo : photo?.before };
  say("Painting …");
  repaint();
}

async function toggleCamera() {
  if (camera.on) return void camera.stop();
  say("Asking for the camera …");
  $("#camera").disabled = true;
  try {
    await camera.run(async (frame) => {
      Object.assign($("#camera"), { disabled: false, textContent: "Stop the camera" });
      $("#snap").disabled = false;
      const painted = await painter.frame(frame, wishes());
      if (painted) show($("#live"), painted);
      painted?.close?.();
      return Boolean(painted);
    }, say);
  } catch (error) {
    complain(error);
  } finally {
    Object.assign($("#camera"), { disabled: false, textContent: "Start the camera" });
    $("#snap").disabled = true;
  }
}

let owned = 0;
const unfitted = new Map(); // by name of an own style: its picture's file

async function addOwn(file, fit = false) {
  try {
    say(fit ? "Fitting the style to its picture, which takes some seconds …" : "Taking the style …");
    const name = await painter.take(file, fit);
    const title = (file.name.replace(/\.[^.]*$/, "") || `My own ${++owned}`) + (fit ? ", fitted" : "");
    if (!fit && !/\.style$/i.test(file.name)) unfitted.set(name, file);
    if (!gallery.has(name)) gallery.add({ name, title, by: "your own" }, URL.createObjectURL(file));
    gallery.mix = [[name, 50]];
    gallery.reveal();
    say(`${title} is a style now.`);
    changed();
  } catch (error) {
    complain(error);
  }
}

async function download() {
  const { name, width, height } = photo;
  $("#download").disabled = true;
  try {
    await busy;
    say("Painting all of it …");
    const wish = wishes();
    const { result, took } = await tellLeft({ width, height }, wish, painter.whole(wish));
    const link = Object.assign(document.createElement("a"), {
      href: URL.createObjectURL(result),
      download: `${name.replace(/\.[^.]*$/, "")}-painted.${result.type.split("/")[1].replace("jpeg", "jpg")}`,
    });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    say(`Painted in ${took} ms, as large as the photo`);
  } catch (error) {
    complain(error);
  } finally {
    $("#download").disabled = false;
  }
}

const tabs = () => [...document.querySelectorAll("[role=tab]:not([hidden])")];

function chooseTab(name) {
  for (const tab of tabs()) {
    const on = tab.id === `tab-${name}`;
    Object.assign(tab, { ariaSelected: String(on), tabIndex: on ? 0 : -1 });
    $(`#${tab.getAttribute("aria-controls")}`).hidden = !on;
  }
  if (name !== "camera" && camera.on) camera.stop();
  showTools();
}

function connect(takeClip) {
  for (const waiting of document.querySelectorAll("[inert]")) waiting.inert = false;
  for (const tab of tabs()) tab.addEventListener("click", () => { chooseTab(tab.id.slice(4)); say(""); });
  $("[role=tablist]").addEventListener("keydown", ({ key }) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (!step) return;
    const next = tabs().at((tabs().indexOf(document.activeElement) + step) % tabs().length);
    next.click();
    next.focus();
  });
  for (const id of ["strength", "stroke"]) {
    $(`#${id}`).addEventListener("input", () => { tellValue(id); changed(false); });
    $(`#${id}`).addEventListener("change", () => { tellValue(id); changed(); });
  }
  for (const id of ["colors", "people"]) $(`#${id}`).addEventListener("change", () => changed());
  for (const [id, take] of [["photo", (file) => setPhoto(file, file.name)], ["own", addOwn]]) {
    $(`#${id}`).addEventListener("change", ({ target }) => {
      if (target.files[0]) take(target.files[0]);
      target.value = "";
    });
  }
  $("#divide").addEventListener("input", ({ target }) => divide(Number(target.value)));
  for (const id of ["brushing", "erase"]) {
    $(`#${id}`).addEventListener("click", ({ target }) => { target.ariaPressed = String(!isPressed(`#${id}`)); showTools(); });
  }
  $("#thickness").addEventListener("input", ({ target }) => { target.ariaValueText = `${target.value} % of the picture`; });
  $("#clear").addEventListener("click", () => { brush.drawing = null; changed(); });
  $("#undo").addEventListener("click", undo);
  $("#camera").addEventListener("click", toggleCamera);
  $("#snap").addEventListener("click", async () => setPhoto(await camera.stop(), "camera"));
  $("#download").addEventListener("click", download);
  $("#fit").addEventListener("click", async ({ target }) => {
    target.disabled = true;
    await addOwn(unfitted.get(gallery.mix[0][0]), true);
    target.disabled = false;
  });
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "z" && !event.shiftKey) { event.preventDefault(); undo(); }
  });
  const stage = $("#stage");
  stage.addEventListener("dragover", (event) => { event.preventDefault(); stage.classList.add("over"); });
  stage.addEventListener("dragleave", () => stage.classList.remove("over"));
  const given = (event, files) => {
    if (!files?.length) return;
    event.preventDefault();
    const [file] = files;
    if (takeClip && file.type.startsWith("video/")) { chooseTab("clip"); takeClip(file); }
    else setPhoto(file, file.name);
  };
  stage.addEventListener("drop", (event) => {
    stage.classList.remove("over");
    given(event, event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => given(event, event.clipboardData.files));
}

/** The service worker keeps the page for offline use, and makes it isolated on hosts that do not: threads need that. */
async function keep() {
  const worker = navigator.serviceWorker;
  if (!worker) return;
  try {
    await worker.register("sw.js");
    if (!worker.controller) {
      await new Promise((done) => {
        worker.addEventListener("controllerchange", done, { once: true });
        setTimeout(done, PATIENCE); // after a forced reload it stays away
      });
    }
    if (!crossOriginIsolated && !sessionStorage.isolated) {
      sessionStorage.isolated = "tried";
      location.reload();
      await new Promise(() => {});
    }
  } catch (error) {
    console.warn("Not kept for offline use:", error);
  }
}

/** What paints, of what there is at this address. */
async function choosePainter() {
  const site = await fetch("page.json").then((answer) => answer.json());
  const inBrowser = !site.server || (site.browser && query.get("painter") === "browser");
  const other = inBrowser ? site.server : site.browser;
  if (other) {
    const words = inBrowser ? "Let the server paint instead." : "Paint in this browser instead: nothing leaves this machine.";
    Object.assign($("#other"), { hidden: false, href: inBrowser ? "?painter=server" : "?painter=browser", textContent: words });
  }
  if (!inBrowser) return new ServerPainter(site);
  if (!site.server) await keep();
  const threads = Number(query.get("threads")) || Math.min(navigator.hardwareConcurrency, 8);
  return new BrowserPainter({ engine: query.get("engine") ?? "auto", threads });
}

/** Chooses what the address says, else a style to begin with. */
function readAddress([{ name }]) {
  gallery.mix = [[[query.get("style"), FIRST, name].find((wanted) => gallery.has(wanted)), 50]];
  if (query.has("strength")) $("#strength").value = 100 * query.get("strength");
  if (query.has("stroke")) $("#stroke").value = Math.log2(query.get("stroke"));
  for (const id of ["strength", "stroke"]) tellValue(id);
}

async function start() {
  const ready = $(".ready");
  const asSource = query.has("camera") && query.has("style"); // a browser source, as OBS has them
  document.body.classList.toggle("source", asSource);
  ready.hidden = false;
  try {
    painter = await choosePainter();
    const fetched = fetch("astronaut.jpg").then((answer) => answer.blob());
    const styles = await painter.open((done, total) => {
      Object.assign(ready.querySelector("progress"), { max: total, value: done });
      ready.querySelector("span").textContent = `${(done / 1e6).toFixed(1)} MB`;
    }, (words) => { $("#about").textContent = words; });
    for (const style of styles) gallery.add(style);
    if (!styles.length) throw new Words("This model comes without styles: start it with one that has some.");
    readAddress(styles);
    now = read();
    $("#tab-clip").hidden = !painter.paintClip;
    $("#people").parentElement.hidden = !painter.canKeep;
    connect(painter.paintClip && connectClip(painter, wishes, { say, complain }));
    ready.hidden = true;
    if (query.has("camera")) {
      chooseTab("camera");
      toggleCamera();
    } else {
      gallery.reveal();
      if (!photo) setPhoto(await fetched, "astronaut.jpg");
    }
    document.body.dataset.ready = painter.constructor.name;
  } catch (error) {
    ready.hidden = true;
    complain(error);
  }
}

start();
