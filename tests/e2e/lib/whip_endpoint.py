"""A WHIP and WHEP endpoint made of aiortc: counts what publishers send, shows players a test picture.

GET /seen tells everything it was sent, so that a test can look for what must not be there.
"""

import asyncio
import sys
import uuid

from aiohttp import web
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack

sessions = {}
seen = {"offers": [], "patches": [], "deleted": 0, "frames": {"audio": 0, "video": 0}}


async def count(track):
    while True:
        await track.recv()
        seen["frames"][track.kind] += 1


async def created(request, prepare):
    sdp = await request.text()
    seen["offers"].append(sdp)
    pc = RTCPeerConnection()
    await pc.setRemoteDescription(RTCSessionDescription(sdp=sdp, type="offer"))
    prepare(pc)
    await pc.setLocalDescription(await pc.createAnswer())
    name = str(uuid.uuid4())
    sessions[name] = pc
    headers = {"Location": f"/endpoint/session/{name}", "ETag": '"one"'}
    return web.Response(status=201, text=pc.localDescription.sdp, content_type="application/sdp", headers=headers)


async def whip(request):
    def prepare(pc):
        for transceiver in pc.getTransceivers():
            asyncio.ensure_future(count(transceiver.receiver.track))

    return await created(request, prepare)


async def whep(request):
    def prepare(pc):
        for transceiver in pc.getTransceivers():
            pc.addTrack(VideoStreamTrack() if transceiver.kind == "video" else AudioStreamTrack())

    return await created(request, prepare)


async def patch(request):
    seen["patches"].append(await request.text())
    return web.Response(status=422)


async def delete(request):
    pc = sessions.pop(request.match_info["name"], None)
    if pc is None:
        return web.Response(status=404)
    seen["deleted"] += 1
    await pc.close()
    return web.Response()


async def options(_):
    return web.Response(status=204, headers={"Accept-Post": "application/sdp"})


app = web.Application()
app.router.add_post("/endpoint/whip", whip)
app.router.add_post("/endpoint/whep", whep)
app.router.add_patch("/endpoint/session/{name}", patch)
app.router.add_delete("/endpoint/session/{name}", delete)
app.router.add_route("OPTIONS", "/{any:.*}", options)
app.router.add_get("/seen", lambda _: web.json_response(seen))
web.run_app(app, host=sys.argv[1], port=int(sys.argv[2]), print=None)
