// The page: what is chosen goes to the painter, what comes back is shown. The newest wish wins.

import { Camera } from "./camera.js";
import { addStyle, choose, chosen, paintThumbs } from "./gallery.js";
import { Words } from "./pixels.js";
import { Studio } from "./studio.js";

const STYLE_SIZE = 512; // the short side that style pictures are scaled to, as in stylizer.py
const PATIENCE = 5000; // ms for the service worker to come
const FIRST = "hokusai-great-wave";
const $ = (selector) => document.querySelector(selector);
const picture = $("#picture");
const query = new URLSearchParams(location.search); // ?engine=wasm or webgpu, ?threads=2
const camera = new Camera();
let studio;
let photo = null; // { source, name, before } and, once it is decoded for a size, { size, pixels, width, height }
let shown = null; // { name, before, after } of what is on the canvas; a camera's frame has no before

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

const size = () => Number($("#size").value);
const wishes = () => ({
  ...chosen($("#share").value / 100),
  controls: { strength: $("#strength").value / 100, keepColors: $("#colors").checked },
});

function show(pixels) {
  if (picture.width !== pixels.width || picture.height !== pixels.height) {
    Object.assign(picture, { width: pixels.width, height: pixels.height });
  }
  picture.getContext("2d").putImageData(pixels, 0, 0);
}

function showPainted(after, title, name, before = null) {
  shown = { name, before, after };
  $("#compare").ariaPressed = "false";
  $("#compare").disabled = !before;
  $("#download").disabled = false;
  picture.ariaLabel = `${name} in the style of ${title}`;
  show(after);
}

let pace = 0; // ms for each pixel of the last picture

/** One pass through the network cannot say how far it is, but it takes as long for each pixel as the one before. */
function tellLeft(start, { width, height }) {
  const [gone, all] = [performance.now() - start, pace * width * height].map((ms) => Math.round(ms / 1000));
  say(all > gone ? `Painting, about ${all - gone} s left …` : `Painting, ${gone} s so far …`);
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
      if (mine.size !== size()) {
        const limit = size();
        const decoded = await studio.call("decode", { source: mine.source, size: limit });
        Object.assign(mine, decoded, { size: limit, before: null });
      }
      const { title, ...wish } = wishes();
      const start = performance.now();
      const told = setInterval(() => tellLeft(start, mine.pixels), 1000);
      const pixels = await studio.call("paint", { photo: mine.pixels, ...wish }).finally(() => clearInterval(told));
      pace = (performance.now() - start) / (pixels.width * pixels.height);
      if (mine !== photo || camera.on) return;
      showPainted(pixels, title, mine.name, mine.pixels);
      const scaled = mine.width === pixels.width ? "" : `, from ${mine.width} x ${mine.height}`;
      const took = Math.round(performance.now() - start);
      say(`Painted in ${took} ms at ${pixels.width} x ${pixels.height} pixels${scaled}`);
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
      const pixels = await studio.call("frame", { frame, size: Math.min(size(), 1024), ...wish }, [frame]);
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
    const vector = await studio.call("take", { source: file, size: STYLE_SIZE });
    const title = file.name.replace(/\.[^.]*$/, "") || "My own";
    const name = `own-${++owned}`;
    addStyle({ name, title, artist: "your own", vector, picture: URL.createObjectURL(file) }, true);
    say(`${title} is a style now.`);
    repaint();
  } catch (error) {
    complain(error);
  }
}

function download() {
  picture.toBlob((blob) => {
    const link = Object.assign(document.createElement("a"), {
      href: URL.createObjectURL(blob),
      download: `${shown.name.replace(/\.[^.]*$/, "")}-painted.png`,
    });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
}

function connect() {
  for (const waiting of document.querySelectorAll("[inert]")) waiting.inert = false;
  const percent = (id) => { $(`output[for=${id}]`).textContent = `${$(`#${id}`).value} %`; };
  for (const id of ["strength", "share"]) $(`#${id}`).addEventListener("input", () => { percent(id); repaint(); });
  for (const id of ["size", "colors", "styles"]) $(`#${id}`).addEventListener("change", repaint);
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
    $("#size").value = opened.engine === "webgpu" ? 1024 : 768;
    for (const style of opened.gallery.filter(({ vector }) => vector)) {
      addStyle({ ...style, artist: `${style.artist}, ${style.year}` });
    }
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
