/* A real node in a directory of its own, for the tests of the page. MICROCLOUD names the program. */
'use strict';
const {spawn} = require('node:child_process');
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');

const PROGRAM = process.env.MICROCLOUD ?? path.join(__dirname, '../../build/microcloud');
const START_MS = 30000;

function freePort() {
    return new Promise((resolve, reject) => {
        const server = net.createServer();
        server.on('error', reject);
        server.listen(0, '127.0.0.1', () => {
            const {port} = server.address();
            server.close(() => resolve(port));
        });
    });
}

/* Asks until `condition` gives something; fails with `what` at the deadline. */
async function until(what, condition, milliseconds = START_MS) {
    const end = Date.now() + milliseconds;
    for (;;) {
        const value = await condition();
        if (value) {
            return value;
        }
        if (Date.now() > end) {
            throw new Error(`waited ${milliseconds} ms in vain: ${what}`);
        }
        await new Promise(resolve => setTimeout(resolve, 20));
    }
}

class Node {
    static async start(name = 'greenhouse') {
        const node = new Node();
        node.name = name;
        node.data = fs.mkdtempSync(path.join(os.tmpdir(), 'microcloud-browser-'));
        [node.mqttPort, node.httpPort] = process.env.SCREENSHOT ? [1883, 8080] : [await freePort(), await freePort()];
        await node.run();
        node.password = fs.readFileSync(path.join(node.data, 'admin-password'), 'utf8').trim();
        return node;
    }

    get url() {
        return `http://localhost:${this.httpPort}/`;
    }

    async run() {
        this.output = '';
        this.child = spawn(PROGRAM, ['run', '--data', this.data, '--name', this.name, '--mqtt-port', this.mqttPort, '--mqtts-port', 0,
            '--http-port', this.httpPort, '--https-port', 0, '--peer-port', 0], {stdio: ['ignore', 'pipe', 'pipe']});
        for (const stream of [this.child.stdout, this.child.stderr]) {
            stream.on('data', text => {
                this.output += text;
            });
        }
        this.ended = new Promise(resolve => this.child.once('exit', (status, signal) => {
            this.status = status ?? signal;
            resolve();
        }));
        await until(`the node serves (${PROGRAM})`, async () => {
            if (this.status !== undefined) {
                throw new Error(`the node ended with ${this.status}: ${this.output}`);
            }
            return fetch(`${this.url}healthz`).then(response => response.ok, () => false);
        });
    }

    /* Ends it and gives its status: 0 when it stopped cleanly (a sanitizer's report makes it another). */
    async stop() {
        this.child.kill('SIGTERM');
        await this.ended;
        const status = this.status;
        delete this.status;
        return status;
    }

    remove() {
        fs.rmSync(this.data, {recursive: true, force: true});
    }

    /* Over the Unix socket, as admin. */
    request(method, target, body) {
        return new Promise((resolve, reject) => {
            const request = http.request({socketPath: path.join(this.data, 'api.sock'), method, path: target}, response => {
                let text = '';
                response.setEncoding('utf8');
                response.on('data', part => {
                    text += part;
                });
                response.on('end', () => resolve({status: response.statusCode, body: text ? JSON.parse(text) : null}));
            });
            request.on('error', reject);
            request.end(body === undefined ? undefined : JSON.stringify(body));
        });
    }
}

module.exports = {Node, until};
