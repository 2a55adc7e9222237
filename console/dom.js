/* Small helpers for the page. Text from outside becomes text nodes only, never markup. */

export const $ = id => document.getElementById(id);

export function show(id, isShown) {
    $(id).hidden = !isShown;
}

export function write(id, text) {
    const element = $(id);
    if (element.textContent !== text) {
        element.textContent = text;
    }
}

/* A sentence of the node's, in which `...` is a command to type. */
export function writeSentence(id, text) {
    const parts = text.split('`').map((part, i) => (i % 2 === 1 ? make('code', '', part) : part));
    if ($(id).textContent !== text.replaceAll('`', '')) {
        $(id).replaceChildren(...parts);
    }
}

/* A note below a form; null hides it. */
export function note(id, text, isBad = false) {
    const element = $(id);
    element.hidden = text === null;
    element.textContent = text ?? '';
    element.classList.toggle('bad', isBad);
}

export function make(tag, className, text) {
    const element = document.createElement(tag);
    if (className) {
        element.className = className;
    }
    if (text !== undefined) {
        element.textContent = text;
    }
    return element;
}

/* [name, value] into a <dl>; a third element that is true marks the value as bad. */
export function list(id, rows) {
    $(id).replaceChildren(...rows.flatMap(([name, value, isBad]) => [make('dt', '', name), make('dd', isBad ? 'bad' : '', value)]));
}

const UNITS = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];

export function size(bytes) {
    let unit = 0;
    while (bytes >= 1024 && unit < UNITS.length - 1) {
        bytes /= 1024;
        unit++;
    }
    return `${unit === 0 ? bytes : bytes.toFixed(1)} ${UNITS[unit]}`;
}

export function duration(seconds) {
    const days = Math.floor(seconds / 86400), hours = Math.floor(seconds / 3600) % 24, minutes = Math.floor(seconds / 60) % 60;
    if (days > 0) {
        return `${days} d ${hours} h`;
    }
    return hours > 0 ? `${hours} h ${minutes} min` : minutes > 0 ? `${minutes} min` : `${seconds} s`;
}

export const count = number => number.toLocaleString('en');
