// What operators see of a real call: the dashboard in Chromium, light, dark and on a phone, and a scrape that promtool reads.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ADMIN_PORT, ADMIN_TOKEN } from '../lib/edge.mjs';
import { addr } from '../lib/namespaces.mjs';
import { callEcho, echo } from './echotest.mjs';

const base = `http://${addr.edgeFront}:${ADMIN_PORT}`;
const headers = { Authorization: `Bearer ${ADMIN_TOKEN}` };

async function ask(path, status = 200) {
  const response = await fetch(`${base}${path}`, { headers });
  assert.equal(response.status, status, `${path}: ${response.status}`);
  return response;
}

async function dashboard(test) {
  const caller = await test.caller();
  await callEcho(caller);
  await test.works(caller, 'echo', { data: echo });
  const { sessions } = await (await ask('/api/sessions')).json();
  assert.equal(sessions.length, 1);
  assert.equal(sessions[0].stage, 'connected');
  assert.equal(sessions[0].diagnosis.text, 'media flows both ways');
  await whole(sessions[0].id);
  execFileSync('promtool', ['check', 'metrics'], { input: await (await ask('/metrics')).text(), stdio: ['pipe', 'pipe', 'pipe'] });
  assert.equal((await fetch(`${base}/metrics`)).status, 401);
  await look(test, caller, sessions[0]);
}

// Audio and video of both sides, each with the clock rate that its codec has, and next to no loss in here.
async function whole(id) {
  const session = await (await ask(`/api/sessions/${id}`)).json();
  const steps = session.timeline.map((it) => it.step);
  for (const step of ['offer_seen', 'answer_rewritten', 'client_check', 'stun_from_backend', 'connected', 'media_from_client', 'media_from_backend']) {
    assert.ok(steps.includes(step), `${step} in ${steps}`);
  }
  assert.ok(steps.some((step) => step.startsWith('dtls_server_hello')), `a ServerHello in ${steps}`);
  for (const streams of [session.streams_from_client, session.streams_from_backend]) {
    const rates = streams.map((it) => it.clock_rate);
    assert.ok(rates.includes(48000) && rates.includes(90000), `clock rates ${rates}`);
    assert.ok(streams.every((it) => it.loss < 0.02), `loss in ${JSON.stringify(streams)}`);
  }
}

async function look(test, caller, session) {
  const page = await caller.page.browser().newPage();
  const faults = [];
  page.on('pageerror', (error) => faults.push(error.message));
  page.on('request', (request) => { if (!request.url().startsWith(base) && !request.url().startsWith('data:')) faults.push(request.url()); });
  const shots = join(dirname(test.group.consoleLog), 'dashboard');
  mkdirSync(shots, { recursive: true });
  const shot = (name) => page.screenshot({ path: join(shots, `${name}.png`) });
  try {
    await page.setViewport({ width: 1280, height: 900 });
    await page.goto(base);
    await page.waitForSelector('#login[open]');
    await page.type('#token', 'not the token at all');
    await page.click('#login .go');
    await page.waitForSelector('#wrong:not([hidden])');
    await page.type('#token', ADMIN_TOKEN);
    await page.click('#login .go');
    await page.waitForFunction((id) => document.querySelector(`tr[data-id="${id}"]`)?.textContent.includes('media flows both ways'), { timeout: 10000 }, session.id);
    await page.waitForFunction(() => /[1-9][0-9.]* [kM]bit\/s/.test(document.querySelector('.tile:nth-child(2) .value').textContent), { timeout: 10000 });
    assert.equal(await page.$$eval('#upstreams li .good', (it) => it.length), 2, 'both servers of Janus are shown, and up');
    await shot('light');
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'dark' }]);
    await open(page, session.id);
    await shot('dark');
    // This loads the page afresh; the token is still in the tab.
    await page.setViewport({ width: 390, height: 844, isMobile: true, hasTouch: true });
    await open(page, session.id);
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth), 0, 'the page scrolls sideways on a phone');
    await shot('phone');
    page.on('dialog', (dialog) => dialog.accept());
    await page.click('#detail [data-name=end]');
    const ended = await test.ended(session.id, 5000);
    assert.equal(ended.reason, 'operator');
    assert.deepEqual(faults, []);
  } finally {
    await page.close();
  }
}

async function open(page, id) {
  await page.waitForSelector(`tr[data-id="${id}"]`, { timeout: 10000 });
  await page.evaluate((it) => document.querySelector(`tr[data-id="${it}"]`).click(), id);
  await page.waitForSelector('#detail[open] .timeline .good');
}

export const admin = () => [{ name: 'dashboard, scrape and explanation of a call', transport: 'ws', run: dashboard }];
