"""Black-box checks of an image, or of a running service, over HTTP and docker.

::

    check ◄── contract, answers, safety, contents, network, operation   one function a check
    subject   what they look at: the service, the image, its containers, its files
    running   runs them side by side
    report    a table, JUnit XML, JSON
"""
