"""The official Python SDK against a running gateway; the same steps as client.mjs."""

import asyncio
import json
import os
import sys
import urllib.request

from centrifuge import (
    Client,
    ClientEventHandler,
    ReplyError,
    SubscriptionEventHandler,
)

ENV = os.environ
TOKENS = json.loads(ENV["TOKENS"])
BINARY = ENV["FORMAT"] == "protobuf"


def say(step, **detail):
    print(json.dumps({"step": step, **detail}), flush=True)


def fail(why):
    say("failed", why=why)
    sys.stdout.flush()
    os._exit(1)


def same(what, got, wanted):
    if got != wanted:
        fail(f"{what}: got {got!r}, wanted {wanted!r}")


def encode(value):
    return json.dumps(value).encode() if BINARY else value


def decode(value):
    return json.loads(bytes(value)) if BINARY else value


def call_api(method, body):
    request = urllib.request.Request(
        f"{ENV['API']}/api/{method}",
        data=json.dumps(body).encode(),
        headers={"X-API-Key": ENV["API_KEY"]},
    )
    answer = json.load(urllib.request.urlopen(request, timeout=10))
    if "error" in answer:
        fail(f"{method}: {answer['error']}")
    return answer["result"]


async def api(method, **body):
    return await asyncio.to_thread(call_api, method, body)


class State(ClientEventHandler, SubscriptionEventHandler):
    def __init__(self):
        self.heard, self.connecting, self.subscribed, self.connected = [], [], [], 0

    async def on_connecting(self, ctx):
        self.connecting.append(ctx.code)

    async def on_connected(self, ctx):
        self.connected += 1

    async def on_subscribed(self, ctx):
        self.subscribed.append((ctx.was_recovering, ctx.recovered))

    async def on_publication(self, ctx):
        self.heard.append(decode(ctx.pub.data))


async def until(what, check, state):
    for _ in range(400):
        if check():
            return
        await asyncio.sleep(0.05)
    fail(f"{what}: not within 20 s; {vars(state)}")


async def main():
    state, fetched = State(), 0

    async def get_token():
        nonlocal fetched
        fetched += 1
        return TOKENS["short"] if fetched == 1 else TOKENS["long"]

    client = Client(
        ENV["GATEWAY"],
        token=TOKENS["expired"],
        get_token=get_token,
        events=state,
        use_protobuf=BINARY,
        min_reconnect_delay=0.05,
        max_reconnect_delay=0.3,
    )
    await client.connect()
    await client.ready(timeout=10)
    same("tokens fetched", fetched, 1)
    say("connected")

    sub = client.new_subscription("site:acme.s1", events=state, recoverable=True)
    await sub.subscribe()
    await sub.ready(timeout=10)
    start = await sub.history(limit=0)
    await api("publish", channel="site:acme.s1", data={"n": 1})
    await until("publication", lambda: state.heard, state)
    same("heard", state.heard, [{"n": 1}])
    say("publication")

    same("rpc", decode((await client.rpc("echo", encode({"ping": "pong"}))).data), {"ping": "pong"})
    try:
        await client.rpc("fail", encode({}))
        fail("an application error was expected")
    except ReplyError as error:
        same("application error", error.code, 1000)
    say("rpc")

    presence = await sub.presence()
    same("presence", [info.user for info in presence.clients.values()], ["per_1"])
    stats = await sub.presence_stats()
    same("presence stats", (stats.num_clients, stats.num_users), (1, 1))
    await api("publish", channel="site:acme.s1", data={"n": 2})
    page = await sub.history(limit=-1)
    same("history", [decode(p.data) for p in page.publications][-2:], [{"n": 1}, {"n": 2}])
    same("history offset", page.offset, start.offset + 2)
    say("history")

    await until("refresh", lambda: fetched >= 2, state)
    same("rpc after refresh", decode((await client.rpc("echo", encode(1))).data), 1)
    same("connects so far", state.connected, 1)
    say("refreshed")

    # The server cuts; what is published meanwhile comes back.
    await api("disconnect", user="per_1", disconnect={"code": 3011, "reason": "force reconnect"})
    for n in (3, 4, 5):
        await api("publish", channel="site:acme.s1", data={"n": n})
    await until("the missed ones", lambda: len(state.heard) >= 5, state)
    same("all, in order, once", [it["n"] for it in state.heard], [1, 2, 3, 4, 5])
    say("recovered")

    connects = state.connected
    say("restart")
    await until("shutdown", lambda: 3001 in state.connecting, state)
    await until("reconnect", lambda: state.connected > connects, state)
    await until("resubscribe", lambda: state.subscribed[-1] == (True, True), state)
    await api("publish", channel="site:acme.s1", data={"n": 6})
    await until("life after", lambda: len(state.heard) >= 6, state)
    same("all, after a restart", [it["n"] for it in state.heard], [1, 2, 3, 4, 5, 6])
    await client.disconnect()
    say("done")


async def bounded():
    try:
        await asyncio.wait_for(main(), 60)
    except asyncio.TimeoutError:
        fail("not done within 60 s")


asyncio.run(bounded())
