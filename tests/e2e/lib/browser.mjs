// Chromium and Firefox with fake camera and microphone, each started once and reused by the cases.
import { appendFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import puppeteer from 'puppeteer-core';

const CHROMIUM_FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-dev-shm-usage', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
  '--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream', '--autoplay-policy=no-user-gesture-required',
  // The edge's certificate is self-signed.
  '--ignore-certificate-errors',
];

const FIREFOX_PREFS = {
  'media.navigator.streams.fake': true,
  'media.navigator.permission.disabled': true,
  'media.autoplay.default': 0,
  // Where there is only IPv6 the page has no secure address.
  'media.devices.insecure.enabled': true,
  'media.getusermedia.insecure.enabled': true,
  // Candidates with addresses instead of mDNS names, as for a page that may use the camera.
  'media.peerconnection.ice.obfuscate_host_addresses': false,
  // H.264 comes as a download, and there is nothing to download from.
  'media.gmp-manager.updateEnabled': false,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
};

const LAUNCH = {
  chromium: { browser: 'chrome', executablePath: '/usr/bin/chromium', args: CHROMIUM_FLAGS, pipe: true },
  firefox: { browser: 'firefox', executablePath: '/usr/bin/firefox-esr', extraPrefsFirefox: FIREFOX_PREFS },
};

export class Browsers {
  #running = new Map();

  constructor(scratch) {
    this.scratch = scratch;
  }

  // A page of its own, with all that it prints going to `log`. `ready` turns true in it once it can be used.
  async open(name, url, log, ready = 'window.e2e !== undefined') {
    const browser = await this.#get(name);
    const page = await browser.newPage();
    page.on('console', (message) => appendFileSync(log, `${name} ${message.type()} ${message.text()}\n`));
    page.on('pageerror', (error) => appendFileSync(log, `${name} pageerror ${error?.message}\n`));
    await page.goto(url);
    await page.waitForFunction(ready, { timeout: 10000 });
    return page;
  }

  async close() {
    for (const browser of this.#running.values()) await browser.close().catch(() => browser.process()?.kill('SIGKILL'));
    this.#running.clear();
  }

  async #get(name) {
    const known = this.#running.get(name);
    if (known?.connected) return known;
    const browser = await this.#launch(name);
    this.#running.set(name, browser);
    return browser;
  }

  #launch(name) {
    // A home of its own, so that nothing of the person who runs this is read or written.
    const home = join(this.scratch, `${name}-home`);
    const profile = join(this.scratch, `${name}-profile`);
    for (const dir of [home, profile]) mkdirSync(dir, { recursive: true });
    return puppeteer.launch({
      ...LAUNCH[name],
      headless: true,
      userDataDir: profile,
      env: { ...process.env, HOME: home, XDG_RUNTIME_DIR: home, TMPDIR: home },
      handleSIGINT: false,
      handleSIGTERM: false,
      handleSIGHUP: false,
      timeout: 60000,
      protocolTimeout: 60000,
    });
  }
}
