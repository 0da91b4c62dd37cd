// The service worker: the page works without a network once it has been seen, and is isolated from other sites on
// hosts that cannot send headers, without which browsers give no threads.

const KEPT = "impasto";
const PAGE = [
  "./", "page.css", "page.js", "camera.js", "gallery.js", "pixels.js", "studio.js", "worker.js", "painter.js",
  "safetensors.js", "favicon.png",
];

self.addEventListener("install", (event) => {
  self.skipWaiting();
  event.waitUntil(caches.open(KEPT).then((kept) => kept.addAll(PAGE)));
});

self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method === "GET" && request.url.startsWith(self.registration.scope)) event.respondWith(answer(event));
});

/** From the network, as it is now, else as it was at the last visit. */
async function answer(event) {
  const { request } = event;
  const kept = await caches.open(KEPT);
  try {
    const response = await fetch(request, { cache: "no-cache" });
    // Where there is no room for it, the page works all the same while there is a network.
    if (response.status === 200) event.waitUntil(kept.put(request, response.clone()).catch(() => {}));
    return isolated(response);
  } catch (error) {
    const response = await kept.match(request, { ignoreSearch: true });
    if (!response) throw error;
    return isolated(response);
  }
}

function isolated(response) {
  if (response.type !== "basic") return response;
  const headers = new Headers(response.headers);
  headers.set("cross-origin-opener-policy", "same-origin");
  headers.set("cross-origin-embedder-policy", "require-corp");
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}
