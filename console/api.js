/* The node's HTTP API. Who is logged in is told by a cookie that scripts cannot read. */

const TIMEOUT_MS = 15000; /* a write is refused with its reason after cluster.write_wait_ms, 10 s */

/* `status` 0: nobody answered. */
export class ApiError extends Error {
    constructor(status, code, message) {
        super(message);
        this.status = status;
        this.code = code;
    }
}

async function call(method, path, body) {
    let response;
    try {
        response = await fetch(path, {
            method,
            headers: body === undefined ? {} : {'Content-Type': 'application/json'},
            body: body === undefined ? undefined : JSON.stringify(body),
            signal: AbortSignal.timeout(TIMEOUT_MS),
        });
    } catch {
        throw new ApiError(0, 'offline', 'The node does not answer.');
    }
    const value = await response.json().catch(() => null);
    if (!response.ok) {
        throw new ApiError(response.status, value?.error?.code ?? 'unknown', value?.error?.message ?? `HTTP ${response.status}`);
    }
    return value;
}

export const api = {
    whoami: () => call('GET', '/v1/login'),
    login: (username, password) => call('POST', '/v1/login', {username, password}),
    logout: () => call('POST', '/v1/logout'),
    status: () => call('GET', '/v1/status'),
    users: () => call('GET', '/v1/users'),
    putUser: (name, role, password) => call('PUT', `/v1/users/${encodeURIComponent(name)}`, {role, password}),
};
