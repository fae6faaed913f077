/** A Fastify route that answers with the bytes of stdin, and does nothing else: what the API is measured against. */
import { text } from 'node:stream/consumers'
import Fastify from 'fastify'

const body = await text(process.stdin)
const app = Fastify()
app.get('/', async (_request, reply) => reply.type('application/json; charset=utf-8').send(body))
process.stdout.write(`${await app.listen({ host: '127.0.0.1', port: 0 })}\n`)
