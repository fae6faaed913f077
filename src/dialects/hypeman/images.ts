/**
 * Images. The name is the last part of the path and holds slashes, colons and `@`, so these routes take all that
 * follows `/images/`: percent-encoded as the SDKs send it (decoded once by the router), or with raw slashes.
 */
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Image } from '../../instance/model.ts'
import { acceptPull } from './accept.ts'
import { readerOf, requiredBody } from './body.ts'
import { presentImage } from './present.ts'
import { queryTags } from './query.ts'
import * as wire from './schema.ts'
import type { Surface } from './surface.ts'
import { callerOf, pathParameter, unknownPath } from './surface.ts'

const TAG_SUFFIX = '/tag'

const readCreate = readerOf(wire.CreateImageRequest)
const readTag = readerOf(wire.TagImageRequest)

export async function listImages(surface: Surface, request: FastifyRequest): Promise<readonly wire.Image[]> {
  const caller = callerOf(request)
  const tags = Object.entries(queryTags(request))
  const images = await surface.engine.images.list(caller)
  const platform = await surface.platform(caller)
  const matching = images.filter(image => tags.every(([key, value]) => image.tags[key] === value))
  return matching.map(image => presentImage(image, platform))
}

export async function createImage(surface: Surface, request: FastifyRequest, reply: FastifyReply): Promise<wire.Image> {
  const body = requiredBody(request, readCreate)
  const image = await surface.engine.images.pull(callerOf(request), acceptPull(body))
  reply.code(202)
  return present(surface, request, image)
}

export async function getImage(surface: Surface, request: FastifyRequest): Promise<wire.Image> {
  return present(surface, request, await surface.engine.images.get(callerOf(request), imageNameOf(request)))
}

export async function deleteImage(surface: Surface, request: FastifyRequest, reply: FastifyReply): Promise<null> {
  await surface.engine.images.delete(callerOf(request), imageNameOf(request))
  reply.code(204)
  return null
}

/** `POST /images/{name}/tag`: another name for the same content. */
export async function tagImage(surface: Surface, request: FastifyRequest): Promise<wire.Image> {
  const name = imageNameOf(request)
  if (!name.endsWith(TAG_SUFFIX)) throw unknownPath(request)
  const { target } = requiredBody(request, readTag)
  return present(surface, request, await surface.engine.images.tag(callerOf(request), name.slice(0, -TAG_SUFFIX.length), target))
}

/** The router has decoded once; a client that encoded twice still means the same image. */
function imageNameOf(request: FastifyRequest): string {
  const name = pathParameter(request, '*')
  if (!/%2f/i.test(name)) return name
  try {
    return decodeURIComponent(name)
  } catch {
    // Not an encoding of anything: the engine refuses the name as it is.
    return name
  }
}

async function present(surface: Surface, request: FastifyRequest, image: Image): Promise<wire.Image> {
  return presentImage(image, await surface.platform(callerOf(request)))
}
