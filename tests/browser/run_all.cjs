// Opens a notebook in JupyterLab, runs all cells and saves it; where there are players of cines: plays, changes slice,
// clicks a point of the plot. Prints JSON.
//   node run_all.cjs URL_OF_THE_NOTEBOOK SCREENSHOT.png [CHROMIUM]
const { chromium } = require("playwright-core");

(async () => {
  const [url, picture, executablePath = "/usr/bin/chromium"] = process.argv.slice(2);
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
  const page = await browser.newPage({ viewport: { width: 1500, height: 1400 } });
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.goto(url, { timeout: 120000 });
  await page.waitForSelector(".jp-Notebook .jp-Cell", { timeout: 120000 });
  const idle = () => page.evaluate(async () => {
    const kernels = await (await fetch("/api/kernels")).json();
    return kernels.length > 0 && kernels.every((one) => one.execution_state === "idle");
  });
  const settled = async (seconds) => {
    for (let calm = 0; calm < seconds; calm = (await idle()) ? calm + 1 : 0) await page.waitForTimeout(1000);
  };
  await settled(3);
  await page.click('.lm-MenuBar-itemLabel:text-is("Run")');
  await page.click('.lm-Menu-itemLabel:text-is("Run All Cells")');
  await page.waitForTimeout(2000);
  await settled(5);
  await page.keyboard.press("Control+s");
  await page.waitForTimeout(2500);
  await page.screenshot({ path: picture });
  const players = await page.locator(".cmr-viewer").count();
  console.log(JSON.stringify({ errors, players, ...(players ? await explored(page, picture) : {}) }));
  await browser.close();
})().catch((error) => { console.error(error); process.exit(1); });

async function explored(page, picture) {
  const viewer = page.locator(".cmr-viewer").nth(-2);
  await viewer.scrollIntoViewIfNeeded();
  const bright = () => viewer.locator("canvas.cmr-cine").first().evaluate((canvas) => {
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    let sum = 0;
    for (let i = 0; i < pixels.length; i += 4) sum += pixels[i] * ((i % 1009) + 1);
    return sum;
  });
  const before = await bright();
  await viewer.locator("button[title='one frame on']").click();
  await page.waitForTimeout(300);
  const stepped = (await bright()) !== before;
  await viewer.locator("button[title^='play']").click();
  await page.waitForTimeout(4200);
  const rate = parseInt((await viewer.locator(".cmr-rate").textContent()) || "0", 10);
  await viewer.locator("button[title^='play']").click();
  await page.waitForTimeout(400);
  const still = await bright();
  await viewer.locator("input[title='slice']").first().fill("1");
  await page.waitForTimeout(1500);
  const sliced = (await bright()) !== still;
  await page.screenshot({ path: picture });
  const chosen = page.locator(".cmr-viewer").last(), plot = page.locator(".cmr-scatter canvas");
  await plot.scrollIntoViewIfNeeded();
  const heading = await chosen.locator(".cmr-heading").textContent();
  const box = await plot.boundingBox();
  let clicked = heading;
  for (let y = 30; y < box.height - 30 && clicked === heading; y += 9) {
    for (let x = 60; x < box.width - 20 && clicked === heading; x += 9) {
      await page.mouse.move(box.x + x, box.y + y);
      if ((await plot.evaluate((canvas) => canvas.style.cursor)) === "pointer") {
        await page.mouse.click(box.x + x, box.y + y);
        await page.waitForTimeout(1200);
        clicked = await chosen.locator(".cmr-heading").textContent();
      }
    }
  }
  await page.screenshot({ path: picture.replace(".png", "_chosen.png") });
  return { stepped, rate, sliced, heading, clicked };
}
