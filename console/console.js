/* The console: who is logged in decides what is shown. Each card has a module of its own:
 * messages.js (live messages), device.js (connect a device), node.js (the node's state); api.js and mqtt.js speak with the node. */
import {api} from './api.js';
import {forgetDevice, initDevice} from './device.js';
import {$, note, show, write} from './dom.js';
import {initMessages, startMessages, stopMessages} from './messages.js';
import {initNode, showState, startNode, stopNode} from './node.js';

const RETRY_MS = 3000;

function showWelcome(message) {
    stopMessages();
    stopNode();
    forgetDevice();
    show('board', false);
    show('who', false);
    show('logout', false);
    show('welcome', true);
    showState('good', 'Reachable');
    note('login-error', message ?? null, true);
    $('password').value = '';
    $('password').focus();
}

function showBoard(login) {
    show('welcome', false);
    show('board', true);
    write('who', `${login.user} (${login.role})`);
    show('who', true);
    show('logout', true);
    startNode();
    startMessages(login);
}

function loginMessage(error) {
    switch (error.code) {
    case 'login_failed':
        return 'User name or password is wrong.';
    case 'offline':
        return 'The node does not answer. Is it running?';
    default:
        return error.message;
    }
}

async function onLogin(event) {
    event.preventDefault();
    const button = $('login').querySelector('button');
    const password = $('password').value;
    button.disabled = true;
    note('login-error', null);
    try {
        const login = await api.login($('username').value, password);
        $('password').value = '';
        showBoard({user: login.user, role: login.role, password});
    } catch (error) {
        note('login-error', loginMessage(error), true);
        $('password').select();
    } finally {
        button.disabled = false;
    }
}

async function onLogout() {
    try {
        await api.logout();
    } catch {
        /* the node is away; it forgets the login when it starts again */
    }
    showWelcome();
}

async function begin() {
    try {
        showBoard(await api.whoami());
    } catch (error) {
        if (error.status === 0) {
            showState('bad', 'Offline');
            setTimeout(begin, RETRY_MS);
            return;
        }
        showWelcome();
    }
}

$('login').addEventListener('submit', onLogin);
$('logout').addEventListener('click', onLogout);
initMessages();
initDevice();
initNode(() => showWelcome('This box does not know the login: it ended, or another box answers now. Log in again.'));
begin();
