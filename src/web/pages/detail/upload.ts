/** One file into an instance, with progress, which fetch does not tell. */
import { apiPath, ApiError, part } from '../../api/http.ts'

export function upload(id: string, path: string, file: File, onSent: (share: number) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest()
    request.open('PUT', apiPath(`/instances/${part(id)}/files`, { path }))
    request.setRequestHeader('x-berth-session', '1')
    request.setRequestHeader('content-type', 'application/octet-stream')
    request.upload.addEventListener('progress', ({ loaded, total }) => onSent(total === 0 ? 1 : loaded / total))
    request.addEventListener('error', () => reject(new ApiError('offline', 'The server does not answer.', 0)))
    request.addEventListener('load', () => {
      if (request.status < 300) resolve()
      else reject(refusalOf(request))
    })
    request.send(file)
  })
}

function refusalOf(request: XMLHttpRequest): ApiError {
  try {
    const { error } = JSON.parse(request.responseText) as { error: { code: string; message: string } }
    return new ApiError(error.code, error.message, request.status)
  } catch {
    return new ApiError('internal', `The server answered with status ${request.status}.`, request.status)
  }
}
