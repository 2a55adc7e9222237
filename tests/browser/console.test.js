/* The page in a real browser against a real node; messages come from a foreign client (mqtt.js). */
'use strict';
const assert = require('node:assert');
const path = require('node:path');
const {after, afterEach, before, beforeEach, describe, it} = require('node:test');
const mqtt = require('mqtt');
const {chromium} = require('playwright-core');
const {Node, until} = require('./node.js');

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'];
const WAIT_MS = 15000;

let node, browser, device;
let page, faults;

async function open(options) {
    const context = await browser.newContext(options);
    page = await context.newPage();
    page.setDefaultTimeout(WAIT_MS);
    faults = [];
    page.on('pageerror', error => faults.push(String(error)));
    page.on('console', message => message.type() === 'error' && faults.push(message.text()));
    await page.goto(node.url);
}

async function login(username = 'admin', password = node.password) {
    await page.fill('#username', username);
    await page.fill('#password', password);
    await page.click('#login button');
}

async function loggedIn() {
    await open();
    await login();
    await live();
}

const live = () => page.waitForSelector('#board[data-live=open]');
const counted = number => page.waitForFunction(least => Number(document.getElementById('counter').dataset.count) >= least, number);
const texts = selector => page.locator(selector).allTextContents();

/* What the page watches is there when the broker has its filter. */
async function watches(filter) {
    const id = await page.getAttribute('#board', 'data-client');
    await until(`the page watches ${filter}`, async () => {
        const client = await node.request('GET', `/v1/clients/${id}`);
        return client.body.filters?.some(entry => entry.filter === filter);
    });
}

describe('the console', {timeout: 180000}, () => {
    before(async () => {
        node = await Node.start();
        browser = await chromium.launch({executablePath: CHROMIUM, args: FLAGS});
        device = await mqtt.connectAsync(`mqtt://127.0.0.1:${node.mqttPort}`, {protocolVersion: 5, clientId: 'kitchen-plug'});
    });
    after(async () => {
        await device?.endAsync();
        await browser?.close();
        const status = await node?.stop();
        node?.remove();
        assert.strictEqual(status, 0, node?.output);
    });
    beforeEach(() => {
        page = null;
    });
    afterEach(async () => {
        await page?.context().close();
    });

    it('says what it is and asks for a login', async () => {
        await open();
        await page.waitForSelector('#login');
        assert.match(await page.textContent('h1'), /Your cloud/);
        assert.strictEqual(await page.isVisible('#board'), false);
        assert.deepStrictEqual(faults.filter(fault => !fault.includes('401')), []);
    });

    it('tells that the password is wrong', async () => {
        await open();
        await login('admin', 'wrong');
        await page.waitForSelector('#login-error:not([hidden])');
        assert.strictEqual(await page.textContent('#login-error'), 'User name or password is wrong.');
        assert.strictEqual(await page.isVisible('#board'), false);
    });

    it('shows an empty state before the first message', async () => {
        await loggedIn();
        assert.ok(await page.isVisible('#messages-empty'));
        assert.strictEqual(await page.textContent('#counter'), '0');
        await page.waitForSelector('#state[data-state=good]:has-text("Serving")');
    });

    it('counts and lists what another client publishes, as text', async () => {
        await loggedIn();
        await watches('#');
        for (let i = 1; i <= 25; i++) {
            await device.publishAsync('home/kitchen/temperature', String(20 + i / 10), {qos: i % 3});
        }
        await device.publishAsync('home/evil', '<img src=x onerror=alert(1)>');
        await device.publishAsync('home/picture', Buffer.from([0xff, 0xd8, 0, 1]));
        await counted(27);
        assert.strictEqual(await page.textContent('#counter'), '27');
        const topics = await texts('#messages td.topic');
        assert.deepStrictEqual(topics.slice(0, 3), ['home/picture', 'home/evil', 'home/kitchen/temperature']);
        const payloads = await texts('#messages td.payload');
        assert.deepStrictEqual(payloads.slice(0, 3), ['binary', '<img src=x onerror=alert(1)>', '22.5']);
        assert.strictEqual(await page.locator('#messages img').count(), 0);
    });

    it('watches a filter, and pauses', async () => {
        await loggedIn();
        await page.fill('#filter', 'garden/+');
        await page.click('#filter-form button[type=submit]');
        await watches('garden/+');
        await device.publishAsync('home/kitchen', 'not this');
        await device.publishAsync('garden/soil', 'dry', {qos: 1});
        await counted(1);
        assert.deepStrictEqual(await texts('#messages td.topic'), ['garden/soil']);
        await page.click('#pause');
        assert.strictEqual(await page.getAttribute('#pause', 'aria-pressed'), 'true');
    });

    it('stays logged in over a reload, and logs out', async () => {
        await loggedIn();
        await page.reload();
        await live();
        assert.match(await page.textContent('#who'), /admin/);
        await page.click('#logout');
        await page.waitForSelector('#login');
        await page.reload();
        await page.waitForSelector('#login');
        assert.strictEqual(await page.isVisible('#board'), false);
    });

    it('says who is in the cluster and what is safe', async () => {
        await loggedIn();
        await page.waitForFunction(() => document.getElementById('safety').textContent.length > 20);
        const status = await node.request('GET', '/v1/status');
        assert.equal(await page.textContent('#safety'), status.body.safety);
        assert.equal((await texts('#nodes dt')).length, status.body.nodes.length);
    });

    it('shows a command in a sentence as what one types', async () => {
        await open();
        await page.route('**/v1/status', async route => {
            const response = await route.fetch();
            const status = await response.json();
            await route.fulfill({response, json: {...status, safety: 'A third (`microcloud token`) <b>helps</b>.'}});
        });
        await login();
        await live();
        await page.waitForSelector('#safety code:text-is("microcloud token")');
        assert.equal(await page.textContent('#safety'), 'A third (microcloud token) <b>helps</b>.');
    });

    it('gives devices the address of the box, or the virtual IP, and marks a box that is off', async () => {
        let vips = [];
        await open();
        await page.route('**/v1/status', async route => {
            const response = await route.fetch();
            const status = await response.json();
            status.nodes.push({...status.nodes[0], name: 'attic', state: 'offline', leader: false});
            status.nodes[0].address = '[fd00::10]:7474';
            status.vips = vips;
            await route.fulfill({response, json: status});
        });
        await login();
        await live();
        await page.waitForSelector('#nodes dd.bad:has-text("offline")');
        assert.equal(await page.locator('dd.bad').count(), 1);
        assert.match(await page.textContent('#line-sub'), /-h fd00::10 /); /* localhost would be the device itself */
        vips = [{address: 'fd00::50/64', interface: '', holder: 'greenhouse', problem: null}];
        await page.waitForSelector('#line-sub:has-text("-h fd00::50 ")');
        await page.click('#tab-web');
        assert.equal((await texts('#addresses dd'))[0], `mqtt://[fd00::50]:${node.mqttPort}`);
        assert.equal((await texts('#addresses dd'))[2], `ws://[fd00::50]:${node.httpPort}/mqtt`);
    });

    it('makes a login with which a device connects', async () => {
        await loggedIn();
        await page.fill('#device-name', 'lamp-1');
        await page.click('#device button');
        await page.waitForSelector('#device-note:has-text("lamp-1")');
        const line = await page.textContent('#line-pub');
        const [, user, password] = /-u (\S+) -P (\S+)/.exec(line);
        assert.strictEqual(user, 'lamp-1');
        assert.ok(line.includes(node.mqttPort === 1883 ? '-h localhost ' : `-h localhost -p ${node.mqttPort}`), line);
        const lamp = await mqtt.connectAsync(`mqtt://127.0.0.1:${node.mqttPort}`, {username: user, password});
        await lamp.publishAsync('home/lamp', 'on', {qos: 1});
        await lamp.endAsync();
        await page.click('#tab-tasmota');
        assert.match(await page.textContent('#line-tasmota'), /MqttUser lamp-1; MqttPassword/);
        await page.fill('#device-name', 'lamp-1');
        await page.click('#device button');
        await page.waitForSelector('#device-note.bad:has-text("already")');
    });

    it('lets a viewer look, and tells him what he may not', async () => {
        await node.request('PUT', '/v1/users/guest', {role: 'viewer', password: 'look'});
        await open();
        await login('guest', 'look');
        await live();
        await watches('#');
        await device.publishAsync('home/door', 'open');
        await counted(1);
        await page.fill('#device-name', 'lamp-2');
        await page.click('#device button');
        await page.waitForSelector('#device-note.bad:has-text("role")');
    });

    it('fits on a phone', async () => {
        await open({viewport: {width: 360, height: 740}, isMobile: true, hasTouch: true});
        await login();
        await live();
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(overflow <= 0, `${overflow} pixels too wide`);
    });

    it('tells that the node is away, and comes back by itself', async () => {
        await loggedIn();
        assert.strictEqual(await node.stop(), 0, node.output);
        await page.waitForSelector('#state[data-state=bad]:has-text("Offline")');
        assert.ok(await page.isVisible('#offline'));
        await node.run();
        await page.waitForSelector('#login:visible'); /* logins are forgotten at a restart */
        assert.match(await page.textContent('#login-error'), /Log in again/);
        await login();
        await live();
    });

    /* The picture of the README: SCREENSHOT=docs/images/console.png ./do test browser */
    it('looks well', async () => {
        await open({viewport: {width: 1280, height: 860}, deviceScaleFactor: 1, colorScheme: process.env.SCHEME ?? 'light'});
        await login();
        await live();
        await watches('#');
        const isPicture = process.env.SCREENSHOT !== undefined; /* then the curve shall have a shape */
        const rooms = ['kitchen', 'greenhouse', 'garage', 'bath', 'porch'];
        for (let i = 0; i < (isPicture ? 160 : 40); i++) {
            const room = rooms[i % rooms.length];
            await device.publishAsync(`home/${room}/climate`, JSON.stringify({temperature: 18 + i % 7, humidity: 40 + i % 30}), {qos: 1});
            if (isPicture) {
                await new Promise(resolve => setTimeout(resolve, 60 + 120 * (1 + Math.sin(i / 9))));
            }
            if (i % 4 === 0) {
                await device.publishAsync(`tele/${room}-plug/STATE`, '{"POWER":"ON","Wifi":{"RSSI":72}}', {retain: true});
            }
        }
        await page.waitForFunction(() => document.getElementById('retained').textContent === '5');
        await page.waitForFunction(() => document.querySelector('#spark .line').getAttribute('d').startsWith('M'));
        const picture = await page.screenshot({path: isPicture ? path.resolve(process.env.SCREENSHOT) : undefined});
        assert.ok(picture.length > 20000);
    });
});
