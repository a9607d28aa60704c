"""A reward for Espalier, served by Python's standard library alone.

    python3 server.py --port 8080
    npx espalier rpt ... --reward remote:url=http://127.0.0.1:8080/score

Replace `score`: it gets one sample and gives a number, None (not applicable: left out, never 0), or {"total": ..., "components": {...}, "note": "..."}.
The contract is openapi.json of @espalier/rewards. With the environment variable REWARD_KEY set, requests need `Authorization: Bearer <key>`.
"""

import argparse
import hmac
import json
import math
import os
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LARGEST = 64 * 2**20


def score(sample):
    """1 when the last number of the completion is the row's `answer`, else 0; None without an answer."""
    answer = sample["row"].get("answer")
    if answer is None:
        return None
    numbers = re.findall(r"-?\d+(?:\.\d+)?", sample["completion"])
    right = bool(numbers) and float(numbers[-1]) == float(answer)
    return {"total": float(right), "components": {"right": float(right), "words": float(len(sample["completion"].split()))}}


def checked(reward):
    """A reward as JSON knows it: NaN and infinity are none, and are found here rather than in the middle of a training."""
    total = reward["total"] if isinstance(reward, dict) else reward
    if total is not None and not math.isfinite(total):
        raise ValueError(f"the reward is {total}")
    return reward


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        key = os.environ.get("REWARD_KEY", "")
        length = int(self.headers.get("content-length") or 0)
        if length > LARGEST:
            self.close_connection = True
            return self.answer(413, {"error": f"the request has {length} bytes, {LARGEST} are taken"})
        body = self.rfile.read(length)
        if key and not hmac.compare_digest(self.headers.get("authorization", ""), f"Bearer {key}"):
            return self.answer(401, {"error": "the bearer token is missing or wrong"})
        if self.path != "/score":
            return self.answer(404, {"error": f"there is no {self.path}: post to /score"})
        try:
            request = json.loads(body)
            if request["version"] != 1:
                return self.answer(400, {"error": f"version {request['version']} of the contract, 1 is known"})
            rewards = [checked(score(sample)) for sample in request["samples"]]
        except (ValueError, KeyError, TypeError) as error:
            return self.answer(400, {"error": f"{type(error).__name__}: {error}"})
        self.answer(200, {"rewards": rewards})

    def answer(self, status, value):
        data = json.dumps(value, allow_nan=False).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    options = parser.parse_args()
    server = ThreadingHTTPServer((options.host, options.port), Handler)
    print(f"http://{options.host}:{server.server_address[1]}/score", flush=True)
    server.serve_forever()
