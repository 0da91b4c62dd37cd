// The service worker: the page works without a network once it has been seen, and is isolated from other sites on
// hosts that cannot send headers, without which browsers give no threads.

const KEPT = "impasto-site";
const PAGE = [
  "./", "page.json", "page.css", "page.js", "browser.js", "server.js", "gallery.js", "brush.js", "clip.js", "camera.js",
  "worker.js", "model.js", "octaves.js", "alpha.js", "palette.js", "pixels.js", "safetensors.js", "favicon.png",
];
// Files that are kept when they are asked for. Whatever else is at this address belongs to somebody else.
const MORE = /^(index\.html|astronaut\.jpg|(ort|model|paintings)\/.+)$/;

self.addEventListener("install", (event) => {
  self.skipWaiting();
  event.waitUntil(caches.open(KEPT).then((kept) => kept.addAll(PAGE)));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(Promise.all([self.clients.claim(), caches.delete("impasto")])); // it held more than the site
});

self.addEventListener("fetch", (event) => {
  const { scope } = self.registration;
  const address = event.request.url.split(/[?#]/)[0];
  if (event.request.method !== "GET" || !address.startsWith(scope)) return;
  const name = address.slice(scope.length) || "./";
  if (PAGE.includes(name) || MORE.test(name)) event.respondWith(answer(event, address));
});

/** From the network, as it is now, else as it was at the last visit. */
async function answer(event, address) {
  const { request } = event;
  const kept = await caches.open(KEPT);
  try {
    const response = await fetch(request, { cache: "no-cache" });
    if (request.mode === "navigate" && !(await isOurs(response))) return response;
    // Where there is no room for it, the page works all the same while there is a network.
    if (response.status === 200) event.waitUntil(kept.put(address, response.clone()).catch(() => {}));
    return isolated(response);
  } catch (error) {
    const response = await kept.match(address);
    if (!response) throw error;
    return isolated(response);
  }
}

/** Whether a page is that of the site: `impasto app` serves another one at the same address. */
async function isOurs(response) {
  return (await response.clone().text()).includes('src="page.js"');
}

function isolated(response) {
  if (response.type !== "basic") return response;
  const headers = new Headers(response.headers);
  headers.set("cross-origin-opener-policy", "same-origin");
  headers.set("cross-origin-embedder-policy", "require-corp");
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}
