-- Wireshark's dissector for the packets that `./run.sh trace --out FILE.pcapng` writes: ALPC messages of Antares.
--
-- Use: wireshark -X lua_script:alpc.lua FILE.pcapng (or put it into the plugins folder; as root Wireshark loads no scripts).
-- Request and reply point at each other (alpc.response_in, alpc.request_in), a reply says how long it took
-- (alpc.rtt), and a message says which one caused it (alpc.caused_by). What a packet holds: pcapng.rs beside this file.

local alpc = Proto("alpc", "NT Asynchronous Local Procedure Call")

local kinds = { [1] = "Request", [2] = "Reply", [3] = "Datagram", [4] = "Connect", [5] = "Connect outcome" }
local types = {
    [0] = "-", [1] = "LPC_REQUEST", [2] = "LPC_REPLY", [3] = "LPC_DATAGRAM", [4] = "LPC_LOST_REPLY", [5] = "LPC_PORT_CLOSED",
    [6] = "LPC_CLIENT_DIED", [7] = "LPC_EXCEPTION", [8] = "LPC_DEBUG_EVENT", [9] = "LPC_ERROR_EVENT",
    [10] = "LPC_CONNECTION_REQUEST", [11] = "LPC_CONNECTION_REPLY", [12] = "LPC_CANCELED",
    [13] = "LPC_UNREGISTER_PROCESS", [14] = "LPC_OBJECT_CLOSED", [15] = "LPC_NAME_RELEASED",
}

local f = {
    kind = ProtoField.uint8("alpc.kind", "Kind", base.DEC, kinds),
    type = ProtoField.uint16("alpc.type", "Type", base.HEX, types, 0xff),
    continuation = ProtoField.bool("alpc.type.continuation", "Continuation required", 16, nil, 0x2000),
    no_impersonate = ProtoField.bool("alpc.type.no_impersonate", "No impersonation", 16, nil, 0x4000),
    kernel = ProtoField.bool("alpc.type.kernel", "From the kernel", 16, nil, 0x8000),
    message = ProtoField.uint32("alpc.message", "Message id", base.HEX),
    source = ProtoField.uint32("alpc.source", "Sender's process", base.DEC),
    source_thread = ProtoField.uint32("alpc.source.thread", "Sender's thread", base.DEC),
    source_image = ProtoField.string("alpc.source.image", "Sender's image"),
    target = ProtoField.uint32("alpc.target", "Receiver's process", base.DEC),
    target_thread = ProtoField.uint32("alpc.target.thread", "Receiver's thread", base.DEC),
    target_image = ProtoField.string("alpc.target.image", "Receiver's image"),
    port = ProtoField.uint32("alpc.port", "Connection port", base.DEC),
    port_name = ProtoField.string("alpc.port.name", "Port name"),
    status = ProtoField.uint32("alpc.status", "Status", base.HEX),
    exchange = ProtoField.uint32("alpc.exchange", "Exchange", base.DEC),
    caused_by = ProtoField.framenum("alpc.caused_by", "Caused by", base.NONE),
    travel = ProtoField.relative_time("alpc.travel", "Time until received"),
    attributes = ProtoField.uint8("alpc.attributes", "Attributes", base.HEX),
    length = ProtoField.uint32("alpc.length", "Payload length", base.DEC),
    payload = ProtoField.bytes("alpc.payload", "Payload"),
    response_in = ProtoField.framenum("alpc.response_in", "Answered in", base.NONE, frametype.RESPONSE),
    request_in = ProtoField.framenum("alpc.request_in", "Answer to", base.NONE, frametype.REQUEST),
    rtt = ProtoField.relative_time("alpc.rtt", "Round trip until answered"),
}
alpc.fields = f

-- Attributes, the lowest bit first.
local letters = { "W", "D", "T", "H", "C", "V", "S" }
-- By exchange: frame and time of the request, frame of the reply.
local requests, replies = {}, {}

function alpc.init()
    requests, replies = {}, {}
end

function alpc.dissector(buffer, pinfo, root)
    if buffer:len() < 52 or buffer(0, 1):uint() ~= 1 then return 0 end
    local kind, exchange, cause = buffer(1, 1):uint(), buffer(32, 4):le_uint(), buffer(36, 4):le_uint()
    local is_reply = kind == 2 or kind == 5
    if not pinfo.visited then
        if is_reply then replies[exchange] = pinfo.number
        else requests[exchange] = { frame = pinfo.number, time = pinfo.abs_ts } end
    end
    local at, names = 52, {}
    for i = 1, 3 do
        local length = buffer(48 + i, 1):uint()
        names[i] = buffer(at, length)
        at = at + length
    end
    local source, target, port = names[1]:string(), names[2]:string(), names[3]:string()
    local length = buffer:reported_len() - at

    pinfo.cols.protocol = "ALPC"
    pinfo.cols.src = string.format("%s(%d)", source, buffer(8, 4):le_uint())
    pinfo.cols.dst = string.format("%s(%d)", target, buffer(16, 4):le_uint())
    local info = string.format("%s %08x %s len=%d", kinds[kind] or "?", buffer(4, 4):le_uint(), port, length)

    local tree = root:add(alpc, buffer(), "ALPC " .. (kinds[kind] or "?") .. " on " .. port)
    tree:add(f.kind, buffer(1, 1))
    local flags = tree:add_le(f.type, buffer(2, 2))
    flags:add_le(f.continuation, buffer(2, 2))
    flags:add_le(f.no_impersonate, buffer(2, 2))
    flags:add_le(f.kernel, buffer(2, 2))
    tree:add_le(f.message, buffer(4, 4))
    tree:add_le(f.source, buffer(8, 4))
    tree:add_le(f.source_thread, buffer(12, 4))
    tree:add(f.source_image, names[1], source)
    tree:add_le(f.target, buffer(16, 4))
    tree:add_le(f.target_thread, buffer(20, 4))
    tree:add(f.target_image, names[2], target)
    tree:add_le(f.port, buffer(24, 4))
    tree:add(f.port_name, names[3], port)
    tree:add_le(f.status, buffer(28, 4))
    tree:add_le(f.exchange, buffer(32, 4))
    if buffer(40, 4):le_uint() ~= 0xffffffff or buffer(44, 4):le_uint() ~= 0xffffffff then
        local travel = buffer(40, 8):le_uint64():tonumber()
        tree:add(f.travel, buffer(40, 8), NSTime.new(math.floor(travel / 1e9), travel % 1e9))
    end
    local attributes, given = buffer(48, 1):uint(), ""
    for i, letter in ipairs(letters) do
        if math.floor(attributes / 2 ^ (i - 1)) % 2 == 1 then given = letter .. given end
    end
    tree:add(f.attributes, buffer(48, 1)):append_text(" " .. given)
    tree:add(f.length, length):set_generated()
    if buffer:len() > at then tree:add(f.payload, buffer(at)) end

    if cause ~= 0xffffffff and requests[cause] then
        tree:add(f.caused_by, requests[cause].frame):set_generated()
    end
    local request = requests[exchange]
    if is_reply and request then
        tree:add(f.request_in, request.frame):set_generated()
        local rtt = pinfo.abs_ts - request.time
        tree:add(f.rtt, NSTime.new(math.floor(rtt), math.floor((rtt % 1) * 1e9 + 0.5))):set_generated()
        info = info .. string.format(" answers %d", request.frame)
    elseif not is_reply and replies[exchange] then
        tree:add(f.response_in, replies[exchange]):set_generated()
    end
    if buffer(28, 4):le_uint() ~= 0 then info = info .. string.format(" status=0x%08X", buffer(28, 4):le_uint()) end
    pinfo.cols.info = info
    return buffer:len()
end

DissectorTable.get("wtap_encap"):add(wtap.USER0, alpc)
