"""Answers to lesson 15: right ones in other words than the course's, wrong ones with what is to be said."""

import math

import torch
import torch.nn.functional as F

# 15.1 the share of a process


def share_by_loops(losses, mask, counts):
    total = losses.sum() * 0
    for row, keep in zip(losses, mask, strict=True):
        for value, counted in zip(row, keep.tolist(), strict=True):
            if counted:
                total = total + value
    return total / (sum(counts) / len(counts))


def share_by_where(losses, mask, counts):
    counts = torch.tensor(counts, dtype=torch.float64)
    return torch.where(mask, losses, 0.0).sum() / counts.mean()


def _share(of):
    def share(losses, mask, counts):
        return of(losses[mask], len(counts), sum(counts), losses, mask, counts)
    return share


# 15.2 round the ring


def ring_by_lists(chunks, steps):
    P = len(chunks)
    held = [[chunks[r, c].clone() for c in range(P)] for r in range(P)]
    for k in range(steps):
        messages = []
        for r in range(P):
            c = (r - k) % P if k < P - 1 else (r + P - k) % P
            messages.append(((r + 1) % P, c, held[r][c]))
        for to, c, message in messages:
            held[to][c] = held[to][c] + message if k < P - 1 else message
    return torch.stack([torch.stack(row) for row in held])


def ring_by_receiver(chunks, steps):
    held, P = chunks.clone(), len(chunks)
    for k in range(steps):
        new = held.clone()
        for r in range(P):
            left = (r - 1) % P
            if k < P - 1:
                c = (left - k) % P
                new[r, c] += held[left, c]
            else:
                c = (left + 1 - (k - P + 1)) % P
                new[r, c] = held[left, c]
        held = new
    return held


def _walk(send=lambda r, k, P: (r - k) % P, share=lambda r, j, P: (r + 1 - j) % P, to=1, late=0,
          meet=lambda mine, came: mine + came, take=lambda mine, came: came, more=0):
    def ring(chunks, steps):
        held, P = chunks.clone(), chunks.shape[0]
        for k in range(max(steps + more, 0)):
            old = held.clone()
            for r in range(P):
                if k < P - 1 + late:
                    c = send(r, k, P)
                    held[(r + to) % P, c] = meet(old[(r + to) % P, c], old[r, c])
                else:
                    c = share(r, k - (P - 1) - late, P)
                    held[(r + to) % P, c] = take(old[(r + to) % P, c], old[r, c])
        return held
    return ring


def _elsewhere(chunks, steps):
    held, P = chunks.clone(), len(chunks)
    for k in range(steps):
        old = held.clone()
        for r in range(P):
            to, c = (r + 1) % P, (r - k) % P if k < P - 1 else (r + P - k) % P
            own = old[to, (c + 1) % P] if k < P - 1 else 0
            held[to, (c + 1) % P] = own + old[r, c]
    return held


# 15.3 rows that are compared


def contrast_by_stack(image, text, images, texts, rank, scale):
    photos, words = images.detach().clone(), texts.detach().clone()
    mark = torch.zeros(len(images), 1, 1, dtype=image.dtype)
    mark[rank] = 1
    photos = ((1 - mark) * photos + mark * image).flatten(0, 1)
    words = ((1 - mark) * words + mark * text).flatten(0, 1)
    s = scale * photos @ words.T
    own = s.diagonal()
    loss = (s.logsumexp(1) + s.logsumexp(0) - 2 * own).mean() / 2
    return loss * len(images)


def contrast_by_softmax(image, text, images, texts, rank, scale):
    photos = torch.cat([image if r == rank else images[r] for r in range(len(images))])
    words = torch.cat([text if r == rank else texts[r] for r in range(len(texts))])
    table = scale * torch.einsum("id,jd->ij", photos, words)
    rows = -table.log_softmax(1).diagonal().sum()
    columns = -table.log_softmax(0).diagonal().sum()
    return (rows + columns) / (2 * len(image))


def _compare(put=True, place=lambda rank, P: rank, own=False, factor=lambda P: P, reduction="mean", sides=2,
             scaled=lambda s: s, live=(True, True), number=lambda rank, n: rank * n):
    def contrast(image, text, images, texts, rank, scale):
        P, n = len(images), len(image)
        everyone = []
        for mine, gathered, alive in zip((image, text), (images, texts), live, strict=True):
            parts = list(gathered.unbind(0))
            if put and alive:
                parts[place(rank, P)] = mine
            everyone.append(torch.cat(parts))
        partner = torch.arange(P * n)
        a, b = everyone
        if own:
            partner = partner[:n] + number(rank, n)
            one, two = image @ b.T, text @ a.T
        else:
            one = a @ b.T
            two = one.T
        losses = [F.cross_entropy(scaled(scale) * table, partner, reduction=reduction)
                  for table in (one, two)]
        return sum(losses[:sides]) / sides * factor(P)
    return contrast


def _locally(image, text, images, texts, rank, scale):
    table, partner = scale * image @ text.T, torch.arange(len(image))
    return (F.cross_entropy(table, partner) + F.cross_entropy(table.T, partner)) / 2


# 15.4 what each process keeps


def bytes_by_loops(layers, processes):
    found = [0, 0, 0, 0]
    for layer in layers:
        own = layer // processes + (layer % processes > 0)
        for stage in range(4):
            found[stage] += 4 * (own if stage >= 3 else layer)
            found[stage] += 4 * (own if stage >= 2 else layer)
            found[stage] += 8 * (own if stage >= 1 else layer)
    biggest = max(layers)
    return torch.tensor(found) + torch.tensor([0, 0, 4 * biggest, 8 * biggest])


def bytes_by_tensor(layers, processes):
    layers = torch.tensor(layers)
    piece = ((layers + processes - 1) // processes).sum()
    n, most = layers.sum(), layers.max()
    return torch.stack([n * 16, n * 8 + piece * 8, n * 4 + piece * 12 + most * 4, piece * 16 + most * 8])


def _table(cut=lambda m, p: math.ceil(m / p), per=(4, 4, 8), moment=(0, 0, 4, 8), from_stage=(3, 2, 1),
           biggest=max, joined=False, after=lambda x, p: x):
    def table(layers, processes):
        piece = cut(sum(layers), processes) if joined else sum(cut(m, processes) for m in layers)
        rows = [sum(size * (piece if stage >= first else sum(layers))
                    for size, first in zip(per, from_stage, strict=True)) + moment[stage] * biggest(layers)
                for stage in range(4)]
        return after(torch.tensor(rows), processes)
    return table


# 15.5 the schedule


def schedule_by_events(forward, backward, parts, send):
    p = len(forward)
    done = {}

    def ahead(s, i):
        if s < 0 or i < 0:
            return 0.0
        if ("f", s, i) not in done:
            came = ahead(s - 1, i) + send if s else 0.0
            done["f", s, i] = max(came, ahead(s, i - 1)) + float(forward[s])
        return done["f", s, i]

    def back(s, i):
        if i < 0:
            return ahead(s, parts - 1)
        if ("b", s, i) not in done:
            came = back(s + 1, i) + send if s < p - 1 else 0.0
            done["b", s, i] = max(came, back(s, i - 1)) + float(backward[s])
        return done["b", s, i]

    return tuple(torch.tensor([[way(s, i) for i in range(parts)] for s in range(p)], dtype=torch.float64)
                 for way in (ahead, back))


def schedule_by_rows(forward, backward, parts, send):
    def pass_through(arrival, seconds, free):
        ends = []
        for came in arrival:
            free = max(free, came) + seconds
            ends.append(free)
        return ends

    arrival, A = [0.0] * parts, []
    for seconds in forward.tolist():
        A.append(pass_through(arrival, seconds, 0.0))
        arrival = [end + send for end in A[-1]]
    arrival, B = [0.0] * parts, []
    for seconds, row in zip(backward.flip(0).tolist(), A[::-1], strict=True):
        B.append(pass_through(arrival, seconds, row[-1]))
        arrival = [end + send for end in B[-1]]
    return torch.tensor(A).double(), torch.tensor(B[::-1]).double()


def _plan(hop=(1, 1), came=True, busy=True, wait=True, back_came=True, flip=False, begin=False, turn=False,
          pick=max, order=None):
    def plan(forward, backward, parts, send):
        f, b = (backward, forward) if flip else (forward, backward)
        p = len(f)
        A, B = (torch.zeros(p, parts, dtype=torch.float64) for _ in range(2))
        for s in range(p):
            for i in range(parts):
                times = []
                if s and came:
                    times.append(float(A[s - 1, i]) + hop[0] * send)
                if i and busy:
                    times.append(float(A[s, i - 1]))
                A[s, i] = (pick(times) if times else 0.0) + f[s]
        for s in (range(p) if turn else range(p)[::-1]):
            last = None
            for i in (order(parts) if order else range(parts)):
                times = [last if last is not None else float(A[s, -1]) if wait else 0.0]
                if s == p - 1 and not wait:
                    times.append(float(A[s, i]))
                near = s - 1 if turn else s + 1
                if 0 <= near < p and back_came:
                    times.append(float(B[near, i]) + hop[1] * send)
                last = float(pick(times) + b[s])
                B[s, i] = last
        return (A - f[:, None], B - b[:, None]) if begin else (A, B)
    return plan


def _plan_added_ahead(forward, backward, parts, send):
    A, B = (torch.zeros(len(forward), parts, dtype=torch.float64) for _ in range(2))
    for s, f in enumerate(forward):
        for i in range(parts):
            A[s, i] = f
            if s:
                A[s, i] += A[s - 1, i] + send
            if i:
                A[s, i] += A[s, i - 1]
    for s in range(len(forward))[::-1]:
        for i in range(parts):
            times = [A[s, -1]] + [B[s, i - 1]] * (i > 0) + [B[s + 1, i] + send for _ in forward[s + 1:s + 2]]
            B[s, i] = max(times) + backward[s]
    return A, B


def _plan_without_queue(forward, backward, parts, send):
    A, B = (torch.zeros(len(forward), parts, dtype=torch.float64) for _ in range(2))
    for s in range(len(forward)):
        for i in range(parts):
            A[s, i] = (A[s - 1, i] + send if s else 0.0) + forward[s]
    for s in range(len(forward))[::-1]:
        for i in range(parts):
            came = B[s + 1, i] + send if s < len(forward) - 1 else A[s, i]
            B[s, i] = max(came, A[s, -1]) + backward[s]
    return A, B


def _plan_held(forward, backward, parts, send):
    def go(seconds, free):
        arrives, ends = [0.0] * parts, []
        for number, (second, now) in enumerate(zip(seconds, free, strict=True)):
            busy = send if number < len(seconds) - 1 else 0.0
            row = []
            for came in arrives:
                row.append(max(now, came) + second)
                now = row[-1] + busy
            ends.append(row)
            arrives = [end + send for end in row]
        return torch.tensor(ends, dtype=torch.float64)
    A = go(forward.tolist(), [0.0] * len(forward))
    return A, go(backward.tolist()[::-1], A[:, -1].tolist()[::-1]).flip(0)


def _plan_sent_to_all(forward, backward, parts, send):
    nothing = torch.zeros(1, dtype=torch.float64)  # a stage before all others, which sends
    A, B = schedule_by_rows(torch.cat([nothing, forward]), torch.cat([nothing, backward]), parts, send)
    return A[1:], B[1:]


def _plan_sending_works(forward, backward, parts, send):
    stage = torch.arange(len(forward))
    return schedule_by_rows(forward + send * (stage < stage.max()), backward + send * (stage > 0), parts, 0)


RIGHT = {
    "15.1": [share_by_loops, share_by_where],
    "15.2": [ring_by_lists, ring_by_receiver],
    "15.3": [contrast_by_stack, contrast_by_softmax],
    "15.4": [bytes_by_loops, bytes_by_tensor],
    "15.5": [schedule_by_events, schedule_by_rows],
}
WRONG = {
    "15.1": [
        (_share(lambda own, P, N, *rest: own.mean()), "own tokens"),
        (_share(lambda own, P, N, *rest: own.sum() / N), "divides by the number of processes once more"),
        (_share(lambda own, P, N, *rest: own.mean() * P * len(own) / N), "nan"),
        (_share(lambda own, P, N, *rest: own.sum()), "plain sum"),
        (_share(lambda own, P, N, *rest: own.sum() * P), "not divided by the tokens"),
        (_share(lambda own, P, N, *rest: own.sum() / (N * P)), "you divide by it as well"),
        (_share(lambda own, P, N, losses, *rest: losses.sum() * P / N), "Padding is not masked"),
        (_share(lambda own, P, N, losses, mask, counts: losses[~mask].sum() * P / N), "tokens are left out"),
        (_share(lambda own, P, N, losses, mask, counts: (losses * mask).mean()), "padding among them"),
        (_share(lambda own, P, N, losses, mask, counts: torch.stack(
            [row[keep].mean() if keep.any() else row.sum() * 0
             for row, keep in zip(losses, mask, strict=True)]).mean()), "each text is averaged"),
        (_share(lambda own, P, N, *rest: own.sum() * P / (N - len(own))), "other processes"),
        (_share(lambda own, P, N, losses, mask, counts: own.sum() * P / max(counts)), "largest share"),
        (_share(lambda own, P, N, *rest: own.sum() * N / P), "upside down"),
        (_share(lambda own, P, N, losses, *rest: own.sum() / len(losses)), "texts of this process"),
        (_share(lambda own, P, N, losses, *rest: own.sum() * P / losses.shape[0]), "texts of this one"),
        (_share(lambda own, P, N, losses, mask, counts: own.sum() / max(counts)), "without the factor"),
        (_share(lambda own, P, N, losses, mask, counts: (losses * mask).mean() * P * len(own) / N),
         "take the sum"),
        (_share(lambda own, P, N, *rest: own.sum() / (N // P)), "drops its rest"),
        (_share(lambda own, P, N, *rest: own.sum() * (P - 1) / N), "one less"),
        (_share(lambda own, P, N, losses, mask, counts: own.sum() * len([n for n in counts if n]) / N),
         "that have tokens"),
        (_share(lambda own, P, N, losses, mask, counts: torch.stack(
            [row[keep].mean() if keep.any() else row.sum() * 0
             for row, keep in zip(losses, mask, strict=True)]).mean() * P * len(own) / N), "by the factor"),
    ],
    "15.2": [
        (_walk(to=-1), "wrong neighbour"),
        (_walk(to=-1, send=lambda r, k, P: (r + k) % P, share=lambda r, j, P: (r - 1 + j) % P),
         "the other way round"),
        (lambda chunks, steps: ring_by_lists(chunks, steps) / len(chunks) ** (steps == 2 * len(chunks) - 2),
         "stands the mean"),
        (_walk(send=lambda r, k, P: (r + k) % P), "r − k"),
        (_walk(send=lambda r, k, P: r), "same chunk"),
        (_walk(send=lambda r, k, P: (r + 1 - k) % P), "begin with r + 1"),
        (_walk(meet=lambda mine, came: came), "has to be added"),
        (_walk(take=lambda mine, came: mine + came), "do not add it"),
        (_walk(share=lambda r, j, P: (r - j) % P), "you begin with r"),
        (_walk(share=lambda r, j, P: (r + 1 + j) % P), "just arrived"),
        (_walk(share=lambda r, j, P: (r + 1) % P), "every step sends the same chunk"),
        (_walk(share=lambda r, j, P: (r + 1 - (j + P - 1)) % P), "counts its steps afresh"),
        (_walk(late=1), "in P of them"),
        (_walk(late=1, share=lambda r, j, P: (r - j) % P), "in P of them"),
        (lambda chunks, steps: ring_by_lists(chunks.permute(1, 0, 2), steps).permute(1, 0, 2),
         "exchange them"),
        (_elsewhere, "same number"),
        (_walk(late=-1), "in P − 2"),
        (lambda chunks, steps: torch.stack([chunks.sum(0)] * len(chunks)), "end state"),
        (_walk(more=1), "One step too many"),
        (_walk(more=-1), "One step too few"),
        (_walk(meet=lambda mine, came: (mine + came) / 2), "averaged"),
    ],
    "15.3": [
        (_locally, "compared with one another"),
        (_compare(put=False), "carry no gradient"),
        (_compare(put=False, factor=lambda P: 1), "carry no gradient"),
        (_compare(factor=lambda P: 1), "too small by the number of processes"),
        (_compare(place=lambda rank, P: 0), "process 0"),
        (_compare(place=lambda rank, P: (rank + 1) % P), "one place too far"),
        (_compare(own=True), "own rows alone"),
        (_compare(own=True, factor=lambda P: 1), "own rows alone"),
        (_compare(own=True, put=False), "carry no gradient"),
        (_compare(own=True, put=False, factor=lambda P: 1), "carry no gradient"),
        (_compare(own=True, factor=lambda P: 1, number=lambda rank, n: 0), "all rows have a loss"),
        (_compare(own=True, put=False, factor=lambda P: 1, number=lambda rank, n: 0),
         "and gathered rows carry no"),
        (_compare(reduction="sum"), "added up"),
        (_compare(reduction="sum", factor=lambda P: 1), "without the factor"),
        (_compare(sides=1), "Only photo → text"),
        (_compare(scaled=lambda s: 1 / s), "1/temperature"),
        (_compare(scaled=lambda s: 1), "scale is left out"),
        (_compare(factor=lambda P: 1 / P), "multiply by it instead"),
        (_compare(factor=lambda P: 2 * P), "Both directions are added"),
        (_compare(live=(True, False)), "Only the photos are put back"),
        (_compare(live=(False, True)), "Only the texts are put back"),
    ],
    "15.4": [
        (_table(cut=lambda m, p: m // p), "rounded down"),
        (_table(joined=True), "cut as one"),
        (_table(moment=(0, 0, 0, 0)), "left out at stages 2 and 3"),
        (_table(moment=(0, 0, 4, 4)), "you count one of them"),
        (_table(moment=(0, 0, 0, 8)), "before it is given away"),
        (_table(from_stage=(3, 1, 1)), "Stage 1 cuts the moments alone"),
        (_table(from_stage=(2, 2, 1)), "weights are cut at stage 3 only"),
        (_table(per=(4, 4, 4)), "you count one"),
        (_table(after=lambda x, p: x // 4), "not bytes"),
        (_table(after=lambda x, p: x * 8), "bits"),
        (_table(after=lambda x, p: x * p), "all processes together"),
        (_table(biggest=min), "smallest layer"),
        (_table(biggest=lambda layers: layers[-1]), "last layer"),
        (_table(biggest=lambda layers: layers[0]), "first layer"),
        (_table(cut=lambda m, p: round(m / p)), "to the nearest"),
        (_table(cut=lambda m, p: m // p + 1), "one number too many"),
        (lambda layers, p: bytes_by_loops(layers, p) - torch.tensor([0, 0, 4, 8]) * -(-max(layers) // p),
         "stages 2 and 3 the whole layer stands"),
        (lambda layers, p: bytes_by_loops(layers, p) - torch.tensor([0, 0, 0, 8]) * -(-max(layers) // p),
         "stage 3 the whole layer stands"),
        (lambda layers, p: torch.tensor([0, 1, 0, 0]) * 16 * sum(-(-m // p) for m in layers)
         + torch.tensor([1, 0, 1, 1]) * bytes_by_loops(layers, p), "weights and gradients stay whole"),
        (_table(biggest=sum), "all layers are counted as whole"),
        (_table(moment=(0, 0, 4, 16)), "moments of a layer never"),
        (_table(per=(2, 2, 8), moment=(0, 0, 2, 4)), "16 bits"),
        (_table(per=(2, 2, 12), moment=(0, 0, 2, 4)), "a float32 copy"),
    ],
    "15.5": [
        (_plan(came=False), "left the stage before"),
        (_plan(busy=False), "one part at a time"),
        (_plan(back_came=False), "come from the stage behind"),
        (_plan(wait=False), "before the first comes back"),
        (_plan(hop=(0, 1)), "on the way forward, too"),
        (_plan(hop=(1, 0)), "on the way back, too"),
        (_plan(hop=(0, 0)), "Sending is left out"),
        (_plan_sent_to_all, "nothing is sent to it"),
        (_plan_sending_works, "counted as work"),
        (_plan(turn=True), "begins at the last stage"),
        (_plan(begin=True), "the ends are wanted"),
        (_plan(flip=True), "are exchanged"),
        (_plan(pick=sum), "Times are added"),
        (_plan_added_ahead, "added on the way forward"),
        (_plan_without_queue, "forward and back"),
        (_plan_held, "while its part travels"),
        (_plan(pick=min), "you take the earlier"),
        (_plan(order=lambda n: range(n)[::-1]), "the first of them first"),
        (lambda *x: tuple(one.T for one in schedule_by_rows(*x)), "Stages and parts are exchanged"),
        (lambda f, b, n, s: schedule_by_rows(f / n, b / n, n, s), "divided by the number of parts"),
    ],
}
