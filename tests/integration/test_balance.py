"""Image servers share the requests by their weights."""

from helpers import image_path

ROUNDS = 200


def counts(stack):
    return {name: int(stack.server_stat("be_imgproxy", name)["stot"]) for name in ("img1", "img2")}


def test_weights_are_what_the_settings_say(stack):
    for number, server in enumerate(stack.image_servers, 1):
        text = stack.haproxy(f"get weight be_imgproxy/img{number}")
        assert text.split()[0] == str(server.weight), text
        assert stack.server_stat("be_imgproxy", f"img{number}")["weight"] == str(server.weight)
    assert [server.weight for server in stack.image_servers] == [70, 30]


def test_two_hundred_requests_split_seventy_to_thirty(stack, owner, source):
    before = counts(stack)
    for _ in range(ROUNDS):
        assert stack.get(image_path(source, "w:8"), owner).status == 200
    after = counts(stack)
    first, second = (after[name] - before[name] for name in ("img1", "img2"))
    assert first + second == ROUNDS, (first, second)
    assert abs(first - ROUNDS * 0.7) <= 6, (first, second)


def test_other_weights(fresh_stack):
    stack = fresh_stack({"IMGPROXY_1_WEIGHT": "1", "IMGPROXY_2_WEIGHT": "3"})
    before = counts(stack)
    for _ in range(80):
        assert stack.get(stack.demo.sample_path, stack.api_key).status == 200
    after = counts(stack)
    assert abs(after["img1"] - before["img1"] - 20) <= 2, (before, after)


def test_refused_requests_never_reach_an_image_server(stack, owner, source):
    before = counts(stack)
    assert stack.get(image_path(source)).status == 401
    assert stack.get("/img/unsafe/raw:1/plain/" + source, owner).status == 403
    assert stack.get("/img/unsafe/plain/http://example.com/a.jpg", owner).status == 403
    assert counts(stack) == before


def test_each_check_is_up_and_asks_health(stack):
    for name in ("img1", "img2"):
        row = stack.server_stat("be_imgproxy", name)
        assert row["status"] == "UP" and row["check_status"].removeprefix("* ") == "L7OK", row
