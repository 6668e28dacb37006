// Keep the page in the browser, so that it opens without a network; a new version replaces the old.
const OWN = `${self.registration.scope}#`; // other pages of this host have their own
const VERSION = `${OWN}@VERSION@`;

async function keep() {
  const requests = @FILES@.map((name) => new Request(name, { cache: 'reload' }));
  await (await caches.open(VERSION)).addAll(requests);
  await self.skipWaiting();
}

async function replace() {
  const old = (await caches.keys()).filter((key) => key.startsWith(OWN) && key !== VERSION);
  await Promise.all(old.map((key) => caches.delete(key)));
  await self.clients.claim();
}

self.addEventListener('install', (event) => event.waitUntil(keep()));
self.addEventListener('activate', (event) => event.waitUntil(replace()));
self.addEventListener('fetch', (event) => {
  const kept = caches.match(event.request, { cacheName: VERSION, ignoreSearch: true });
  event.respondWith(kept.then((response) => response ?? fetch(event.request)));
});
