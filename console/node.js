/* The node's state: asked every few seconds, only while somebody looks. */
import {api} from './api.js';
import {$, count, duration, list, note, size, write, writeSentence} from './dom.js';
import {showPorts} from './device.js';

const EVERY_MS = 3000;

let timer = null;
let onLoggedOut = null;
let isRunning = false;

export function showState(state, text) {
    $('state').dataset.state = state;
    write('state', text);
}

function draw(status) {
    const {mqtt, log} = status;
    showState(status.quorum ? 'good' : 'bad', status.quorum ? 'Serving' : 'Takes no changes');
    note('offline', status.quorum || status.stale ? null : `The node takes no changes (${log.state}): is its disk full? Reading goes on.`, true);
    write('clients', count(mqtt.clients_connected));
    write('clients-more', mqtt.clients_total === 1 ? '1 session' : `${count(mqtt.clients_total)} sessions`);
    write('retained', count(mqtt.retained_messages));
    write('retained-more', size(mqtt.retained_bytes));
    write('queued', count(mqtt.queued_messages));
    write('version', `microCloud ${status.version}`);
    list('node', [
        ['Name', status.node],
        ['Leader', status.leader ?? 'none'],
        ['Up for', duration(mqtt.uptime_s)],
        ['Published', count(mqtt.publish_received)],
        ['Delivered', count(mqtt.publish_sent)],
        ['Dropped', count(mqtt.publish_dropped)],
        ['Memory', size(status.memory_bytes)],
        ['State on disk', size(status.state_bytes)],
        ['Log', `term ${log.term}, entry ${count(log.applied_index)}`],
    ]);
    showPorts(status);
    drawCluster(status);
}

function describe(node) {
    const words = [node.wanted_role === 'witness' ? `${node.role} (witness)` : node.role, node.state];
    if (node.leader) {
        words.push('leads');
    }
    if (node.drained) {
        words.push('drained');
    }
    return words.join(', ');
}

/* What is true for all boxes: one box alone has one line. */
function drawCluster({nodes, vips, safety, stale}) {
    writeSentence('safety', safety);
    note('stale', stale ? 'This box is cut off from the others: what it says of them may be old.' : null, true);
    const sorted = [...nodes].sort((a, b) => a.name.localeCompare(b.name));
    list('nodes', sorted.map(node => [node.name, describe(node), node.state !== 'online' && !node.drained]));
    list('vips', vips.map(vip => [vip.address, vip.holder ? `held by ${vip.holder}` : vip.problem ?? 'held by nobody', !vip.holder]));
}

async function ask() {
    clearTimeout(timer);
    try {
        const status = await api.status();
        if (isRunning) {
            draw(status);
        }
    } catch (error) {
        if (!isRunning) {
            return;
        }
        if (error.status === 401) {
            onLoggedOut();
            return;
        }
        showState('bad', error.status === 0 ? 'Offline' : 'Trouble');
        note('offline', `${error.message} What you see is as it was; trying again.`, true);
    }
    if (isRunning && !document.hidden) {
        timer = setTimeout(ask, EVERY_MS);
    }
}

export function startNode() {
    isRunning = true;
    return ask();
}

export function stopNode() {
    isRunning = false;
    clearTimeout(timer);
    note('offline', null);
}

export function initNode(loggedOut) {
    onLoggedOut = loggedOut;
    document.addEventListener('visibilitychange', () => {
        if (isRunning && !document.hidden) {
            ask();
        }
    });
}
