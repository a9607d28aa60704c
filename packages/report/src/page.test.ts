import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { chromium, type BrowserContext, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeFakePipeline, writeFakeRun } from '../test/fake-run';
import { writeReport } from './write-report';

const executablePath = process.env['ESPALIER_CHROMIUM'] ?? '/usr/bin/chromium';
const here = existsSync(executablePath);
const hostile = '</script><img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script><svg onload=alert(1)>';

describe.skipIf(!here)(`the page in Chromium${here ? '' : ` (left out: there is no ${executablePath}; ESPALIER_CHROMIUM names another)`}`, () => {
  let dir: string;
  let browser: BrowserContext;
  const complaints: string[] = [];
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'espalier-page-'));
    const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
    browser = await chromium.launchPersistentContext(join(dir, 'profile'), { executablePath, headless: true, args, viewport: { width: 1280, height: 900 }, colorScheme: 'light' });
  });
  afterAll(async () => {
    await browser?.close();
    await rm(dir, { recursive: true, force: true });
  });

  async function open(name: string): Promise<Page> {
    const { path } = await writeReport(join(dir, name));
    const page = await browser.newPage();
    complaints.length = 0;
    page.on('console', (message) => complaints.push(message.text()));
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('request', (request) => void (request.url().startsWith('file:') || complaints.push(`asked for ${request.url()}`)));
    await page.goto(pathToFileURL(path).href);
    await page.locator('#curves').evaluate((section) => (section as unknown as { scrollIntoView(): void }).scrollIntoView()); // what is out of sight is not drawn
    await page.waitForSelector('.chart canvas');
    return page;
  }

  /** What stands on the canvas of a chart. */
  const drawing = (page: Page, metric: string) => page.locator(`.chart[data-metric="${metric}"] canvas`).evaluate((canvas) => (canvas as unknown as { toDataURL(): string }).toDataURL());

  it('draws curves, smooths them, takes the logarithm, shows values, and zooms', async () => {
    await writeFakeRun(join(dir, 'run'));
    const page = await open('run');
    expect(await page.locator('.chart').count()).toBeGreaterThan(12);
    expect(await page.locator('.group > summary').allTextContents()).toEqual(['Reward6', 'Loss1', 'KL and entropy3', 'Lengths4', 'Optimiser2', 'Timing2']);
    const plain = await drawing(page, 'reward');
    expect(plain.length).toBeGreaterThan(3000); // an empty one has a few hundred characters
    await page.locator('#smoothing').fill('0.9');
    await expect.poll(() => drawing(page, 'reward')).not.toBe(plain);
    const smoothed = await drawing(page, 'reward');
    await page.locator('#log').check();
    await expect.poll(() => drawing(page, 'reward')).not.toBe(smoothed);
    const plot = page.locator('.chart[data-metric="reward"] .plot');
    await plot.focus();
    await page.keyboard.press('Home');
    expect(await page.locator('.chart[data-metric="reward"] .readout').textContent()).toContain('at 1');
    await plot.scrollIntoViewIfNeeded();
    const box = (await plot.boundingBox())!;
    await page.mouse.move(box.x + 120, box.y + 60);
    await page.mouse.down();
    await page.mouse.move(box.x + 180, box.y + 60, { steps: 4 });
    await page.mouse.up();
    await page.getByRole('button', { name: 'Show all steps' }).click();
    await page.locator('#metric-filter').fill('grad');
    await expect.poll(() => page.locator('.chart:visible').count()).toBe(1);
    expect(await page.locator('.notices li').count()).toBe(3);
    expect(complaints).toEqual([]);
    await page.close();
  });

  it('finds samples, by text, by step and with the keyboard, and colours their tokens', async () => {
    await writeFakeRun(join(dir, 'samples'), { samples: 5000 });
    const page = await open('samples');
    expect(await page.locator('#sample-count').textContent()).toBe('5,000 samples');
    expect(await page.locator('.sample-row').count()).toBeLessThan(60);
    expect(await page.locator('.token').count()).toBeGreaterThan(5);
    await page.getByRole('button', { name: 'advantage' }).click();
    expect(await page.locator('.token').first().evaluate((token) => (token as unknown as { style: { backgroundColor: string } }).style.backgroundColor)).toMatch(/--(plus|minus)/);
    await page.locator('.sample-list').focus();
    await page.keyboard.press('End');
    expect(await page.locator('.sample-row[aria-selected="true"]').getAttribute('id')).toBe('sample-4999');
    await page.locator('#sample-search').fill('WHAT IS 7 + 49');
    expect(await page.locator('#sample-count').textContent()).toBe('100 samples');
    await page.getByRole('button', { name: 'plain' }).click();
    expect(await page.locator('.sample-detail mark').first().textContent()).toBe('What is 7 + 49');
    await page.locator('#sample-step').selectOption('1');
    expect(Number.parseInt((await page.locator('#sample-count').textContent())!)).toBeLessThan(100);
    await page.locator('#sample-search').fill('there is no such sample');
    expect(await page.locator('.sample-detail').textContent()).toBe('No sample matches.');
    expect(complaints).toEqual([]);
    await page.close();
  });

  it('changes between light and dark', async () => {
    await writeFakeRun(join(dir, 'theme'), { rows: 20 });
    const page = await open('theme');
    const background = () => page.evaluate('getComputedStyle(document.body).backgroundColor');
    const light = await background();
    expect(await page.locator('html').getAttribute('data-theme')).toBe('light');
    await page.locator('#theme').click();
    expect(await page.locator('html').getAttribute('data-theme')).toBe('dark');
    expect(await background()).not.toBe(light);
    await page.locator('#theme').click();
    expect(await background()).toBe(light);
    await page.close();
    await browser.newPage().then(async (dark) => {
      await dark.emulateMedia({ colorScheme: 'dark' });
      await dark.goto(pathToFileURL(join(dir, 'theme', 'report.html')).href);
      await dark.evaluate('localStorage.clear()');
      await dark.reload();
      expect(await dark.locator('html').getAttribute('data-theme')).toBe('dark');
      await dark.close();
    });
    expect(complaints).toEqual([]);
  });

  it('shows hostile text as text', async () => {
    await writeFakeRun(join(dir, 'hostile'), { rows: 5, samples: 4, prompt: (i) => (i % 2 ? hostile : [{ role: hostile, content: hostile }]), completion: () => hostile });
    const page = await open('hostile');
    expect(await page.locator('#completion').textContent()).toBe(hostile);
    expect(await page.locator('.message').textContent()).toBe(hostile + hostile);
    expect(await page.locator('img, iframe, #app script').count()).toBe(0);
    await page.locator('#sample-search').fill('<img');
    await page.getByRole('button', { name: 'plain' }).click();
    expect(await page.locator('.sample-detail mark').count()).toBeGreaterThan(0);
    expect(await page.title()).toBe('hostile · Espalier');
    expect(complaints).toEqual([]);
    await page.close();
  });

  it("shows a pipeline's stages together, or one alone", async () => {
    await writeFakePipeline(join(dir, 'line'));
    const page = await open('line');
    expect(await page.locator('#stages tbody tr').count()).toBe(6);
    const together = await page.locator('.chart').count();
    await page.getByRole('button', { name: 'sft' }).click();
    await expect.poll(() => page.locator('.chart').count()).toBeLessThan(together);
    expect(await page.locator('.chart').evaluateAll((charts) => charts.map((chart) => (chart as unknown as { dataset: { metric: string } }).dataset.metric))).toEqual(['loss', 'mean_token_accuracy', 'learning_rate', 'grad_norm', 'step_time']);
    await page.locator('#stage').selectOption({ label: 'evaluate' });
    await expect.poll(() => page.locator('#sample-count').textContent()).toBe('4 samples');
    expect(complaints).toEqual([]);
    await page.close();
  });
});
