// The camera: a frame goes to the server when the one before has come back, so the newest always wins.
{
  const root = (window.gradio_config?.root || location.origin).replace(/\/$/, "");
  const box = element.querySelector(".camera");
  const button = box.querySelector("button");
  const size = box.querySelector("select");
  const said = box.querySelector(".said");
  const view = box.querySelector("canvas");
  const camera = crypto.randomUUID ? crypto.randomUUID() : String(Date.now()).padStart(8, "0");
  const video = document.createElement("video");
  video.muted = video.playsInline = true;
  let stream = null;

  const stop = (words) => {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    box.classList.remove("on");
    button.textContent = "Start the camera";
    said.textContent = words;
  };

  const frame = () => {
    const scale = Math.min(1, Number(size.value) / Math.max(video.videoWidth, video.videoHeight));
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(video.videoWidth * scale);
    canvas.height = Math.round(video.videoHeight * scale);
    canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
    return new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.9));
  };

  const query = () => {
    const { styles = [], strength = 1, stroke_size = 1, keep_color = null } = window.impasto || {};
    const fields = new URLSearchParams({ camera, strength, stroke_size });
    for (const one of styles) { fields.append("style", one.id); fields.append("weight", one.weight); }
    if (keep_color) fields.set("keep_color", keep_color);
    return fields;
  };

  const run = async (mine) => {
    let shown = [], misses = 0;
    while (stream === mine) {
      const taken = performance.now();
      try {
        const answer = await fetch(`${root}/camera/frame?${query()}`, { method: "POST", headers: { "content-type": "image/jpeg" }, body: await frame() });
        if (answer.status === 503) { said.textContent = "The server is busy: waiting for it."; await new Promise((go) => setTimeout(go, 500)); continue; }
        if (!answer.ok) { stop((await answer.json()).error); return; }
        const painted = await createImageBitmap(await answer.blob());
        if (stream !== mine) return;
        if (view.width !== painted.width || view.height !== painted.height) { view.width = painted.width; view.height = painted.height; }
        view.getContext("2d").drawImage(painted, 0, 0);
        painted.close();
        misses = 0;
      } catch {
        if (++misses > 5) return stop("The server cannot be reached: is it still running?");
        await new Promise((go) => setTimeout(go, 500));
        continue;
      }
      const now = performance.now();
      shown = [...shown.filter((then) => now - then < 2000), now];
      const rate = shown.length > 1 ? 1000 * (shown.length - 1) / (now - shown[0]) : 0;
      said.textContent = `${rate.toFixed(1)} frames/s · ${Math.round(now - taken)} ms behind · ${view.width} x ${view.height}`;
      // A page that nobody looks at sends nothing.
      await new Promise((go) => requestAnimationFrame(go));
    }
  };

  const start = async () => {
    if (!navigator.mediaDevices) return stop("The browser gives its camera only to pages from this machine or over https.");
    said.textContent = "Asking for the camera ...";
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 }, facingMode: "user" }, audio: false });
    } catch (error) {
      return stop(error.name === "NotFoundError" ? "There is no camera on this machine." : error.name === "NotAllowedError"
        ? "The browser may not use the camera: allow it in the address bar, then start again." : "The camera does not start: another program may be using it.");
    }
    video.srcObject = stream;
    await video.play();
    box.classList.add("on");
    button.textContent = "Stop";
    run(stream);
  };

  button.addEventListener("click", async () => {
    if (stream) return stop("Stopped.");
    button.disabled = true; // a second click while the browser asks would open a second stream
    await start().finally(() => { button.disabled = false; });
  });
}
