/* How to connect a first device: lines to copy, with the virtual IP if there is one, else this node's address, and a login for
 * the device. */
import {api} from './api.js';
import {$, list, note, write} from './dom.js';

const ALPHABET = 'abcdefghijkmnpqrstuvwxyz23456789'; /* 32 characters, none that look alike */

let ports = {port: 1883, tls_port: 8883};
let vip = null; /* devices are told the address that outlives this box */
let own = null; /* where this box is for others: the page may have been opened on the box itself */
let device = {name: 'DEVICE', password: 'PASSWORD'};

function isLoopback(host) {
    return host === 'localhost' || host === '::1' || host.startsWith('127.');
}

function bare(host) {
    return host.replace(/^\[|\]$/g, '');
}

function draw() {
    const opened = bare(location.hostname);
    const host = vip ?? (isLoopback(opened) && own ? own : opened);
    const authority = host.includes(':') ? `[${host}]` : host;
    const webPort = location.port && `:${location.port}`;
    const port = ports.port === 1883 ? '' : ` -p ${ports.port}`;
    const login = ` -u ${device.name} -P ${device.password}`;
    write('line-sub', `mosquitto_sub -h ${host}${port}${login} -t 'home/#' -v`);
    write('line-pub', `mosquitto_pub -h ${host}${port}${login} -t home/kitchen -m hello -q 1`);
    write('line-tasmota', `Backlog MqttHost ${host}; MqttPort ${ports.port}; MqttUser ${device.name}; MqttPassword ${device.password}; Topic ${device.name}`);
    list('addresses', [
        ['MQTT', ports.port ? `mqtt://${authority}:${ports.port}` : 'off'],
        ['MQTT over TLS', ports.tls_port ? `mqtts://${authority}:${ports.tls_port}` : 'off'],
        ['WebSocket', `${location.protocol === 'https:' ? 'wss' : 'ws'}://${authority}${webPort}/mqtt`],
        ['User name', device.name],
        ['Password', device.password],
    ]);
}

export function showPorts(status) {
    const address = status.nodes.find(each => each.name === status.node)?.address ?? null;
    ports = status.mqtt;
    vip = status.vips.find(each => each.holder)?.address.split('/')[0] ?? null;
    own = address && bare(address.replace(/:\d+$/, ''));
    draw();
}

function newPassword() {
    return Array.from(crypto.getRandomValues(new Uint8Array(20)), byte => ALPHABET[byte % 32]).join('');
}

async function makeLogin(event) {
    event.preventDefault();
    const button = $('device').querySelector('button');
    const name = $('device-name').value;
    button.disabled = true;
    try {
        if ((await api.users()).some(user => user.name === name)) {
            note('device-note', `There is a user '${name}' already: take another name.`, true);
            return;
        }
        const password = newPassword();
        await api.putUser(name, 'device', password);
        device = {name, password};
        draw();
        $('device').reset();
        note('device-note', `'${name}' may connect now. Its password is in the lines below and is shown only here.`);
    } catch (error) {
        note('device-note', error.message, true);
    } finally {
        button.disabled = false;
    }
}

/* navigator.clipboard is there on https and localhost only. */
async function copy(button) {
    const source = $(button.dataset.copy);
    let isCopied = false;
    try {
        await navigator.clipboard.writeText(source.textContent);
        isCopied = true;
    } catch {
        getSelection().selectAllChildren(source);
        isCopied = document.execCommand('copy');
    }
    button.textContent = isCopied ? 'Copied' : 'Press Ctrl+C';
    setTimeout(() => {
        button.textContent = 'Copy';
    }, 1500);
}

function initTabs() {
    const tabs = [...document.querySelectorAll('[role=tab]')];
    const select = tab => {
        for (const other of tabs) {
            other.setAttribute('aria-selected', String(other === tab));
            other.tabIndex = other === tab ? 0 : -1;
            $(other.getAttribute('aria-controls')).hidden = other !== tab;
        }
    };
    tabs.forEach((tab, i) => {
        tab.addEventListener('click', () => select(tab));
        tab.addEventListener('keydown', event => {
            const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
            if (step) {
                const next = tabs[(i + step + tabs.length) % tabs.length];
                select(next);
                next.focus();
            }
        });
    });
}

export function initDevice() {
    $('device').addEventListener('submit', makeLogin);
    for (const button of document.querySelectorAll('[data-copy]')) {
        button.addEventListener('click', () => copy(button));
    }
    initTabs();
    draw();
}

/* Passwords do not outlive the login. */
export function forgetDevice() {
    device = {name: 'DEVICE', password: 'PASSWORD'};
    note('device-note', null);
    draw();
}
