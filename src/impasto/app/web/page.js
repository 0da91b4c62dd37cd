// The page: what is chosen goes to the painter, what comes back is shown. The newest wish wins.

import { Camera } from "./camera.js";
import { addStyle, choose, chosen, paintThumbs } from "./gallery.js";
import { chooseSizes } from "./octaves.js";
import { Words } from "./pixels.js";
import { Studio } from "./studio.js";

const STYLE_SIZE = 512; // the short side that style pictures are scaled to, as in stylizer.py
const PREVIEW = 1024; // long side of what the page shows; the download has the photo's own size
const PATIENCE = 5000; // ms for the service worker to come
const FIRST = "hokusai-great-wave";
const $ = (selector) => document.querySelector(selector);
const picture = $("#picture");
const query = new URLSearchParams(location.search); // ?engine=wasm or webgpu, ?threads=2
const camera = new Camera();
let studio;
let photo = null; // { source, name, before } and, once it is decoded, { pixels, width, height }
let shown = null; // { name, after, before, whole }, see showPainted

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

const wishes = () => ({
  ...chosen($("#share").value / 100),
  controls: {
    strength: $("#strength").value / 100,
    keepColors: $("#colors").checked,
    strokeSize: 2 ** $("#stroke").value, // so that a step is the same change anywhere
  },
});

function show(pixels) {
  if (picture.width !== pixels.width || picture.height !== pixels.height) {
    Object.assign(picture, { width: pixels.width, height: pixels.height });
  }
  picture.getContext("2d").putImageData(pixels, 0, 0);
}

/** Shows what was painted, of a photo (`before`) or a frame; `whole` is what the photo itself is painted of if larger. */
function showPainted(after, title, name, before = null, whole = null) {
  shown = { name, after, before, whole };
  $("#compare").ariaPressed = "false";
  $("#compare").disabled = !before;
  $("#download").disabled = false;
  picture.ariaLabel = `${name} in the style of ${title}`;
  show(after);
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
  pace = took / work;
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
      const { source, name } = mine;
      if (!mine.pixels) Object.assign(mine, await studio.call("choose", { source, size: PREVIEW }), { before: null });
      const { title, ...wish } = wishes();
      const { pixels, width, height } = mine;
      const { result, took } = await tellLeft({ width, height }, wish, studio.call("paint", wish));
      if (mine !== photo || camera.on) return;
      const scaled = width !== pixels.width;
      showPainted(result, title, name, pixels, scaled ? { source, width, height, ...wish } : null);
      say(`Painted in ${took} ms, ${pixels.width} x ${pixels.height} pixels` +
        (scaled ? `; the download will have all ${width} x ${height}` : ""));
    } catch (error) {
      if (mine === photo && !mine.pixels) photo = mine.before; // what is no picture leaves the one before in its place
      complain(error);
    } finally {
      $("#stage").ariaBusy = String(wanted);
    }
  });
}

async function setPhoto(source, name) {
  if (camera.on) await toggleCamera(false);
  photo = { source, name, before: photo };
  say("Painting …");
  repaint();
}

async function toggleCamera(keep = true) {
  if (camera.on) {
    const last = await camera.stop();
    if (keep) await setPhoto(last, "camera");
    return;
  }
  say("Asking for the camera …");
  $("#camera").disabled = true;
  try {
    await camera.run(async (frame) => {
      Object.assign($("#camera"), { disabled: false, textContent: "Take this picture" });
      const { title, ...wish } = wishes();
      const pixels = await studio.call("frame", { frame, ...wish }, [frame]);
      if (camera.on) showPainted(pixels, title, "camera");
    }, say);
  } catch (error) {
    complain(error);
  } finally {
    Object.assign($("#camera"), { disabled: false, textContent: "Start the camera" });
  }
}

let owned = 0;

async function addOwn(file) {
  try {
    say("Taking the style …");
    const style = await studio.call("take", { source: file, size: STYLE_SIZE });
    const title = file.name.replace(/\.[^.]*$/, "") || "My own";
    const name = `own-${++owned}`;
    addStyle({ name, title, artist: "your own", style, picture: URL.createObjectURL(file) }, true);
    say(`${title} is a style now.`);
    repaint();
  } catch (error) {
    complain(error);
  }
}

async function download() {
  const { name, after, whole } = shown;
  $("#download").disabled = true;
  try {
    const blob = whole ? await paintWhole(whole) : await studio.call("pack", { pixels: after });
    const link = Object.assign(document.createElement("a"), {
      href: URL.createObjectURL(blob),
      download: `${name.replace(/\.[^.]*$/, "")}-painted.png`,
    });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  } catch (error) {
    complain(error);
  } finally {
    $("#download").disabled = false;
  }
}

async function paintWhole({ width, height, ...given }) {
  say("Painting all of it …");
  const { result, took } = await tellLeft({ width, height }, given, studio.call("whole", given));
  say(`Painted in ${took} ms, all ${width} x ${height} pixels`);
  return result;
}

function connect() {
  for (const waiting of document.querySelectorAll("[inert]")) waiting.inert = false;
  const percent = (value) => `${value} %`;
  const times = (value) => `${Number((2 ** value).toFixed(2))} x`;
  for (const [id, tell] of Object.entries({ strength: percent, share: percent, stroke: times })) {
    $(`#${id}`).addEventListener("input", ({ target }) => {
      $(`output[for=${id}]`).textContent = target.ariaValueText = tell(target.value);
      repaint();
    });
  }
  for (const id of ["colors", "styles"]) $(`#${id}`).addEventListener("change", repaint);
  $("#second").addEventListener("change", () => { $("#mix").hidden = !$("#second").value; repaint(); });
  for (const [id, take] of [["photo", (file) => setPhoto(file, file.name)], ["own", addOwn]]) {
    $(`#${id}`).addEventListener("change", (event) => {
      event.stopPropagation();
      if (event.target.files[0]) take(event.target.files[0]);
      event.target.value = "";
    });
  }
  $("#camera").addEventListener("click", () => toggleCamera());
  $("#download").addEventListener("click", download);
  $("#compare").addEventListener("click", ({ target }) => {
    const on = target.ariaPressed !== "true";
    target.ariaPressed = String(on);
    show(on ? shown.before : shown.after);
  });
  const stage = $("#stage");
  stage.addEventListener("dragover", (event) => { event.preventDefault(); stage.classList.add("over"); });
  stage.addEventListener("dragleave", () => stage.classList.remove("over"));
  const given = (event, files) => {
    if (!files?.length) return;
    event.preventDefault();
    setPhoto(files[0], files[0].name);
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

function tellHow({ engine, threads, lacking }) {
  const processor = `the processor, by WebAssembly with ${threads} ${threads === 1 ? "thread" : "threads"}`;
  const why = [lacking, crossOriginIsolated ? "" : "more threads need a page over https"].filter(Boolean).join("; ");
  $("#about").textContent = engine === "webgpu"
    ? "Painted by the graphics card, through WebGPU."
    : `Painted by ${processor}${why ? `: ${why}` : ""}.`;
}

async function start() {
  const ready = $(".ready");
  ready.hidden = false;
  await keep();
  const threads = Number(query.get("threads")) || Math.min(navigator.hardwareConcurrency, 8);
  studio = new Studio({ engine: query.get("engine") ?? "auto", threads }, (done, total) => {
    Object.assign(ready.querySelector("progress"), { max: total, value: done });
    ready.querySelector("span").textContent = `${(done / 1e6).toFixed(1)} MB`;
  }, tellHow);
  try {
    const fetched = fetch("astronaut.jpg").then((response) => response.blob());
    const [opened, example] = await Promise.all([studio.opened, fetched]);
    for (const painting of opened.gallery) addStyle({ ...painting, artist: `${painting.artist}, ${painting.year}` });
    choose(FIRST);
    connect();
    if (!photo) await setPhoto(example, "astronaut");
    document.body.dataset.ready = opened.engine;
    ready.hidden = true;
    const idle = async () => {
      do await busy; while (wanted);
      while (camera.on) await new Promise((later) => setTimeout(later, 500));
    };
    await paintThumbs(studio, opened.key, example, idle);
  } catch (error) {
    ready.hidden = true;
    complain(error);
  }
}

start();
