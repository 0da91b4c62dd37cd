// The clip tab: a clip is painted by the server, which says how far it is.

import { Words } from "./pixels.js";

const $ = (selector) => document.querySelector(selector);

/**
 * Connects the tab.
 * @param {import("./server.js").ServerPainter} painter
 * @param {() => import("./browser.js").Wish} wishes
 * @param {{say: (words: string) => void, complain: (error: Error) => void}} words
 */
export function connectClip(painter, wishes, { say, complain }) {
  const [shown, begin, cancel, download, progress] = ["shown", "begin", "cancel", "download", "progress"].map((id) => $(`#clip-${id}`));
  let file = null;
  let running = null;

  const show = (address) => {
    Object.assign(shown, { src: address, hidden: false });
    $("#clip-none").hidden = true;
  };
  const wait = (on) => {
    for (const [element, hidden] of [[progress, !on], [cancel, !on], [begin, on]]) element.hidden = hidden;
    progress.value = 0;
  };

  const take = (given) => {
    if (running) return complain(new Words("A clip is being painted: cancel it first."));
    file = given;
    show(URL.createObjectURL(file));
    begin.disabled = false;
    download.hidden = true;
    say(`${file.name}: choose a style, then paint it.`);
  };
  $("#clip").addEventListener("change", ({ target }) => {
    if (target.files[0]) take(target.files[0]);
    target.value = "";
  });

  begin.addEventListener("click", async () => {
    running = new AbortController();
    wait(true);
    download.hidden = true;
    say("Sending the clip …");
    const tell = ({ state, done, total, rate, seconds_left: left }) => {
      if (state === "waiting" || !done) return say(state === "waiting" ? "Waiting for its turn …" : "Beginning …");
      progress.value = total ? done / total : 0;
      const of = total ? ` of ${total}` : "";
      const time = left === null ? "" : `, ${Math.floor(left / 60)}:${String(Math.round(left) % 60).padStart(2, "0")} left`;
      return say(`Frame ${done}${of}${rate ? `, ${rate.toFixed(1)} frames/s` : ""}${time}`);
    };
    try {
      const address = await painter.paintClip(file, wishes(), Number($("#clip-size").value), tell, running.signal);
      show(address);
      Object.assign(download, { href: address, download: `${file.name.replace(/\.[^.]*$/, "")}-painted.mp4`, hidden: false });
      say("Painted. It can be downloaded for a quarter of an hour.");
    } catch (error) {
      if (running.signal.aborted) say("Cancelled.");
      else complain(error);
    } finally {
      running = null;
      wait(false);
    }
  });
  cancel.addEventListener("click", () => { running.abort(); say("Cancelling …"); });
  return take;
}
