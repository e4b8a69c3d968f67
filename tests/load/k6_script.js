// Load on a gateway with k6 (https://k6.io): uploads, resizes of what was uploaded, and what gets refused. docs/load.md
//
//   GATEWAY_URL=http://localhost:8080 GATEWAY_API_KEY=igw_… k6 run tests/load/k6_script.js
//
// GATEWAY_SIGNING=KEY_ID:KEY:SALT (hex) signs a part of the URLs; USERS and DURATION set the load (20, 60s).
// What is refused as it should be counts in `refused`, by its code, and is no failure; one failed check in a thousand, or
// one wrong answer in a thousand, makes k6 end with status 99.
import { check, fail, sleep } from 'k6';
import crypto from 'k6/crypto';
import http from 'k6/http';
import { Counter } from 'k6/metrics';

const url = (__ENV.GATEWAY_URL || 'http://localhost:8080').replace(/\/$/, '');
const key = __ENV.GATEWAY_API_KEY;
const signing = (__ENV.GATEWAY_SIGNING || '').split(':');
const photo = open('../../compose/local/sample.jpg', 'b');

const sizes = [[120, 80], [300, 200], [640, 427], [1280, 853]];
const types = { jpg: 'image/jpeg', png: 'image/png', webp: 'image/webp' };
const refused = new Counter('refused');

export const options = {
    scenarios: {
        customers: { executor: 'constant-vus', vus: Number(__ENV.USERS || 20), duration: __ENV.DURATION || '60s' },
    },
    thresholds: {
        checks: ['rate>0.999'],
        http_req_failed: ['rate<0.001'],
        'http_req_duration{kind:image}': ['p(95)<5000'],
    },
    // A key has no business in a report.
    systemTags: ['status', 'method', 'name', 'check', 'error', 'error_code', 'scenario'],
};

const wants = (status) => http.expectedStatuses(status);
const pick = (list) => list[Math.floor(Math.random() * list.length)];

function upload() {
    const res = http.post(`${url}/api/v1/upload`, { file: http.file(photo, 'photo.jpg', 'image/jpeg') }, {
        headers: { 'X-API-Key': key }, responseCallback: wants(200), tags: { name: 'upload', kind: 'upload' },
    });
    const good = check(res, {
        'status is 200': (r) => r.status === 200,
        'the upload has all bytes': (r) => r.status === 200 && r.json('bytes') === photo.byteLength,
    });
    return good ? res.json('source') : null;
}

// imgproxy's own signature, over the path behind /signed/KEY_ID/SIGNATURE.
function sign(path) {
    const [id, secret, salt] = signing;
    const bytes = (hex) => new Uint8Array(hex.match(/../g).map((pair) => parseInt(pair, 16))).buffer;
    const hmac = crypto.createHMAC('sha256', bytes(secret));
    hmac.update(bytes(salt));
    hmac.update(path);
    return `/signed/${id}/${hmac.digest('base64rawurl')}${path}`;
}

function image(source) {
    const [width, height] = pick(sizes);
    const type = pick(Object.keys(types));
    const path = `/rs:fill:${width}:${height}/plain/${source}@${type}`;
    const signed = signing.length === 3 && Math.random() < 0.3;
    const res = http.get(url + (signed ? sign(path) : `/img/unsafe${path}`), {
        headers: signed ? {} : { 'X-API-Key': key }, responseType: 'binary', responseCallback: wants(200),
        tags: { name: signed ? 'resize (signed)' : 'resize', kind: 'image' },
    });
    check(res, {
        'status is 200': (r) => r.status === 200,
        'the type is the one asked for': (r) => r.headers['Content-Type'] === types[type],
        'there is a request id': (r) => r.headers['X-Request-Id'] !== undefined,
    });
}

function refusal(path, headers, status, code) {
    const res = http.get(url + path, { headers, responseCallback: wants(status), tags: { name: `refused: ${code}`, kind: 'refused' } });
    const good = check(res, { 'refused as it should be': (r) => r.status === status && r.json('code') === code });
    if (good) {
        refused.add(1, { code });
    }
}

// Each of k6's users has its own copy of these.
let sources = [];

export default function () {
    if (!key) {
        fail('GATEWAY_API_KEY is not set');
    }
    if (sources.length === 0 || Math.random() < 0.06) {
        const source = upload();
        if (source === null) {
            sleep(0.5);
            return;
        }
        sources = [source, ...sources.slice(0, 7)];
    }
    const chance = Math.random();
    if (chance < 0.05) {
        refusal(`/img/unsafe/rs:fill:30:20/plain/${sources[0]}`, {}, 401, 'key_missing');
    } else if (chance < 0.08) {
        refusal('/img/unsafe/rs:fill:300:200', { 'X-API-Key': key }, 400, 'url_invalid');
    } else if (chance < 0.11) {
        refusal(`/img/unsafe/rs:fill:30:20/plain/local:///${'0'.repeat(32)}.jpg`, { 'X-API-Key': key }, 404, 'not_found');
    } else {
        image(pick(sources));
    }
    sleep(0.02 + Math.random() * 0.18);
}
