"""Inside the box: one learner's answer, read, run, called and differentiated, one frame after another."""

from __future__ import annotations

import ast

import torch

from cmlib.grade import frames, similarity, slicing


class Answer:
    """One learner's answer to one exercise, and the graphs of its calls."""

    def __init__(self):
        self.statements, self.space, self.calls, self.name = [], {"__name__": "__main__"}, [], ""

    def read(self, cells, name, id):
        """Parse and cut out what the answer needs. No line of the learner has run yet."""
        try:
            self.statements, self.name = slicing.statements(cells, name, id), name
        except slicing.NotFound:
            return {"found": False}, None
        except slicing.Unreadable as problem:
            return {"unreadable": str(problem)[:300]}, None
        try:
            return {"found": True}, similarity.fingerprints(
                "\n".join(ast.unparse(s) for _, s in self.statements)
            )
        except (ValueError, RecursionError):
            return {"found": True}, []

    def run(self):
        lazily = any(isinstance(s, ast.ImportFrom) and s.module == "__future__" for _, s in self.statements)
        flags = annotations.compiler_flag if lazily else 0
        problem = None
        for cell, statement in self.statements:
            try:
                exec(compile(ast.Module([statement], []), f"<cell {cell}>", "exec", flags, True), self.space)  # noqa: S102
            except BaseException as error:
                problem = problem or _raised(error)  # such as an import that the answer may never use: go on
        if problem and self.name not in self.space:
            return problem, None
        value = self.space.get(self.name)
        return {"callable": callable(value)}, None if callable(value) else value

    def call(self, args, kwargs):
        before = [a.detach().clone() if isinstance(a, torch.Tensor) else None for a in args]
        try:
            result = self.space[self.name](*args, **kwargs)
        except BaseException as error:
            return _raised(error), None
        tensors: list = []
        frames.encode(result, tensors)
        self.calls.append(([a for a in args if isinstance(a, torch.Tensor) and a.requires_grad],
                           [t for t in tensors if t.requires_grad]))
        changed = [i for i, (old, new) in enumerate(zip(before, args, strict=True))
                   if old is not None and not torch.equal(old.nan_to_num(), new.detach().nan_to_num())]
        return {"call": len(self.calls) - 1, "changed": changed}, result

    def back(self, call, cotangents):
        inputs, outputs = self.calls[call]
        try:
            gradients = torch.autograd.grad(outputs, inputs, cotangents, retain_graph=True, allow_unused=True)
        except BaseException as error:
            return _raised(error), None
        return {}, list(gradients)


def _raised(error: BaseException) -> dict:
    line, place = 0, error.__traceback__
    while place:
        if place.tb_frame.f_code.co_filename.startswith("<cell "):
            line = place.tb_lineno
        place = place.tb_next
    if isinstance(error, SyntaxError):
        line = error.lineno or 0
    return {
        "raised": type(error).__name__[:60],
        "line": line,
        "text": str(error).strip().split("\n")[0][:160],
        "open": isinstance(error, NotImplementedError),
    }


def answer_frames(connection) -> None:
    answer = Answer()
    while True:
        try:
            message, value = frames.receive(connection, formulas=True)
        except EOFError:
            return
        match message:
            case {"do": "end"}:
                return
            case {"do": "read", "name": name, "id": id}:
                reply = answer.read(value, name, id)
            case {"do": "run"}:
                reply = answer.run()
            case {"do": "call"}:
                reply = answer.call(*value)
            case {"do": "back", "call": call}:
                reply = answer.back(call, value)
        try:
            frame = frames.pack(*reply)
        except BaseException as error:
            frame = frames.pack(_raised(error))
        frames.send(connection, frame)
