/* The live counter and the last messages, over MQTT on WebSocket. The page keeps the last ROWS_MAX and draws once a frame, however
 * many arrive. */
import {$, count, make, note, show, write} from './dom.js';
import {Mqtt} from './mqtt.js';

const ROWS_MAX = 200;
const PAYLOAD_CHARACTERS_MAX = 400;
const SECONDS_SHOWN = 60;
const strict = new TextDecoder('utf-8', {fatal: true});

let mqtt = null;
let total = 0;
let waiting = []; /* not drawn yet, the newest last */
let perSecond = new Array(SECONDS_SHOWN).fill(0);
let isDrawing = false;
let clock = null;

/* ---- rows ---- */

function payloadText(payload) {
    try {
        const text = strict.decode(payload);
        return {text: text.length > PAYLOAD_CHARACTERS_MAX ? text.slice(0, PAYLOAD_CHARACTERS_MAX) + '…' : text, isBinary: text === ''};
    } catch {
        return {text: '', isBinary: true};
    }
}

function row(message) {
    const {text, isBinary} = payloadText(message.payload);
    const line = make('tr', 'fresh');
    const payload = make('td', isBinary ? 'payload binary' : 'payload');
    if (message.retain) {
        payload.append(make('span', 'tag', 'retained'));
    }
    payload.append(isBinary ? (message.payload.length === 0 ? 'empty' : 'binary') : text);
    line.append(make('td', '', message.at.toLocaleTimeString('en-GB')), make('td', 'topic', message.topic), payload, make('td', 'bytes', count(message.payload.length)));
    return line;
}

function draw() {
    isDrawing = false;
    const counter = $('counter');
    counter.textContent = count(total);
    counter.dataset.count = total;
    const body = $('messages').tBodies[0];
    body.prepend(...waiting.reverse().map(row));
    waiting = [];
    while (body.rows.length > ROWS_MAX) {
        body.lastElementChild.remove();
    }
    show('messages', body.rows.length > 0);
    show('messages-empty', body.rows.length === 0);
}

function drawSoon() {
    if (!isDrawing) {
        isDrawing = true;
        (document.hidden ? setTimeout : requestAnimationFrame)(draw);
    }
}

function onMessage(message) {
    total++;
    perSecond[perSecond.length - 1]++;
    message.at = new Date();
    waiting.push(message);
    if (waiting.length > ROWS_MAX) {
        waiting.shift();
    }
    drawSoon();
}

/* ---- the curve of the last minute ---- */

function drawCurve() {
    const most = Math.max(4, ...perSecond);
    const points = perSecond.map((value, i) => `${(i * 240 / (SECONDS_SHOWN - 1)).toFixed(1)},${(53 - value * 48 / most).toFixed(1)}`);
    const isFlat = perSecond.every(value => value === 0);
    $('spark').querySelector('.line').setAttribute('d', isFlat ? '' : `M${points.join('L')}`);
    $('spark').querySelector('.area').setAttribute('d', isFlat ? '' : `M0,56L${points.join('L')}L240,56Z`);
    const lately = perSecond.slice(-5).reduce((sum, value) => sum + value, 0) / 5;
    if (total > 0) {
        write('rate', `${lately >= 10 ? count(Math.round(lately)) : lately.toFixed(1)} per second`);
    }
}

function tick() {
    drawCurve();
    perSecond.push(0);
    perSecond.shift();
}

/* ---- life ---- */

const STATES = {
    connecting: null,
    open: null,
    lost: 'The live connection was lost; trying again …',
};

function onState(state, reason) {
    $('board').dataset.live = state;
    if (state === 'refused') {
        note('messages-note', `No live messages: ${reason}. Log in again to see them.`, true);
    } else if (state === 'filter') {
        note('messages-note', `Nothing can be watched with this filter: ${reason}.`, true);
    } else {
        note('messages-note', STATES[state], true);
    }
}

function setPaused(isPaused) {
    $('pause').setAttribute('aria-pressed', String(isPaused));
    $('pause').textContent = isPaused ? 'Go on' : 'Pause';
}

/* `login` may have no password: then the cookie says who it is. */
export function startMessages(login) {
    stopMessages();
    total = 0;
    waiting = [];
    perSecond.fill(0);
    $('messages').tBodies[0].replaceChildren();
    write('rate', 'waiting for the first');
    setPaused(false);
    draw();
    drawCurve();
    const suffix = Array.from(crypto.getRandomValues(new Uint8Array(4)), byte => byte.toString(16).padStart(2, '0')).join('');
    const clientId = `console-${suffix}`;
    $('board').dataset.client = clientId;
    mqtt = new Mqtt({
        url: `${location.protocol === 'https:' ? 'wss:' : 'ws:'}//${location.host}/mqtt`,
        clientId,
        username: login.password === undefined ? null : login.user,
        password: login.password ?? null,
        filter: $('filter').value,
        onMessage,
        onState,
    });
    mqtt.start();
    clock = setInterval(tick, 1000);
}

export function stopMessages() {
    clearInterval(clock);
    mqtt?.stop();
    mqtt = null;
}

export function initMessages() {
    $('filter-form').addEventListener('submit', event => {
        event.preventDefault();
        const filter = $('filter').value || '#';
        $('filter').value = filter;
        setPaused(false);
        note('messages-note', null);
        mqtt?.watch(filter);
    });
    $('pause').addEventListener('click', () => {
        const isPaused = $('pause').getAttribute('aria-pressed') !== 'true';
        setPaused(isPaused);
        mqtt?.watch(isPaused ? null : $('filter').value || '#');
    });
}
