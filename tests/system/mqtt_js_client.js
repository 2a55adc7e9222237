// One MQTT client on mqtt.js, told by a JSON object what to do; it prints a line of JSON for each thing that happens.
// {url, options, subscribe: [{topic, options}], publish: [{topic, payload, options}], messages: N}
// It publishes once it has subscribed, and ends when all is acknowledged and `messages` messages came.
'use strict'
const mqtt = require(process.env.MQTT_JS)

const task = JSON.parse(process.argv[2])
const client = mqtt.connect(task.url, { reconnectPeriod: 0, connectTimeout: 20000, ...task.options })
let missing = task.messages || 0
let unacknowledged = (task.publish || []).length

function say (what) { console.log(JSON.stringify(what)) }

let isOver = false

// Later, for a message is told before its PUBCOMP is written.
function endWhenDone () {
  if (isOver || missing > 0 || unacknowledged > 0) return
  isOver = true
  setImmediate(() => client.end(false, () => process.exit(missing < 0 ? 1 : 0)))
}

function fail (error) {
  say({ error: String(error.message || error), code: error.code })
  process.exit(1)
}

client.on('error', fail)
client.on('close', () => { if (!client.disconnecting) fail(new Error('closed')) })
client.on('message', (topic, payload, packet) => {
  say({ topic, payload: payload.toString(), qos: packet.qos, retain: packet.retain, properties: packet.properties })
  missing--
  endWhenDone()
})
client.on('connect', async (connack) => {
  say({ connected: true, sessionPresent: connack.sessionPresent })
  try {
    for (const { topic, options } of task.subscribe || []) await client.subscribeAsync(topic, options)
    say({ subscribed: true })
    await Promise.all((task.publish || []).map(({ topic, payload, options }) =>
      client.publishAsync(topic, payload, options).then(() => { unacknowledged-- })))
    endWhenDone()
  } catch (error) { fail(error) }
})
