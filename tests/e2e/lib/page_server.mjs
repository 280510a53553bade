// Serves the page to the browser next to it: at 127.0.0.1, which counts as secure, so that it may use the camera. And to
// the edge, for pages that come through it.
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import { addr } from './namespaces.mjs';

const root = new URL('../', import.meta.url);
const FILES = {
  '/whip.html': ['pages/whip.html', 'text/html'],
  '/live.html': ['pages/live.html', 'text/html'],
  '/live.js': ['pages/live.js', 'text/javascript'],
  '/': ['pages/call.html', 'text/html'],
  '/call.js': ['pages/call.js', 'text/javascript'],
  '/janus.js': ['node_modules/janus-gateway/npm/dist/janus.es.js', 'text/javascript'],
  '/adapter.js': ['node_modules/webrtc-adapter/out/adapter.js', 'text/javascript'],
};

// Pages with packages that browsers cannot load as they are.
const BUNDLED = { '/whip.js': 'pages/whip.js' };

async function bundle(file) {
  const { build } = await import('esbuild');
  const path = fileURLToPath(new URL(file, root));
  const { outputFiles } = await build({ entryPoints: [path], bundle: true, format: 'esm', write: false, logLevel: 'silent' });
  return outputFiles[0].text;
}

export async function servePages() {
  const server = createServer(async (request, response) => {
    const bundled = BUNDLED[request.url];
    if (bundled) return response.writeHead(200, { 'content-type': 'text/javascript' }).end(await bundle(bundled));
    const [file, type] = FILES[request.url] ?? [];
    if (!file) return response.writeHead(404).end();
    response.writeHead(200, { 'content-type': type }).end(await readFile(fileURLToPath(new URL(file, root))));
  });
  await new Promise((resolve) => server.listen(0, '::', resolve));
  const { port } = server.address();
  return { url: `http://127.0.0.1:${port}/`, urlSix: `http://[${addr.clientSix}]:${port}/`, edgeUrl: `http://${addr.client}:${port}`, close: () => { server.close(); server.closeAllConnections(); } };
}
