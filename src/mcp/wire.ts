/** Answers that are given before, or instead of, the protocol's own. */

/** A JSON-RPC error as an HTTP answer. */
export function jsonRpcError(status: number, code: number, message: string, id: string | number | null = null): Response {
  return Response.json({ jsonrpc: '2.0', error: { code, message }, id }, { status })
}
